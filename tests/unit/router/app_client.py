"""A client of the whole HTTP surface over fake pools, and what its errors must look like."""

from typing import Any

import httpx
from fakes import Harness, state_of

from policies.cost import PredictionError
from policies.forecast import Forecaster
from router.admin import Admin
from router.admin_canary import CanaryAdmin
from router.admin_policy import PolicyAdmin
from router.api import Api
from router.guards import OperatorGuard
from router.models import ModelList
from router.policy_changes import PolicyChanges
from router.policy_sync import PolicySync
from router.settings import DeploymentSettings, HttpSettings, TenancySettings
from router.shadow import Shadow
from router.telemetry import Metrics
from router.tenancy import Tenancy
from router.tenant_api import TenantApi


def client_of(
    harness: Harness,
    *,
    token: str | None = None,
    metrics_token: str | None = None,
    open_admin: bool = True,
    share_prefix_cache: bool = False,
    tenancy: Tenancy | None = None,
    policy: PolicyAdmin | None = None,
    shadow: Shadow | None = None,
) -> httpx.AsyncClient:
    """A client of an app whose bodies may have 2 KB."""
    admin = Admin(
        snapshot=harness.buffer,
        learning=harness.learning,
        pools=harness.pools,
        policies=harness.policies,
        predictions=PredictionError(),
        forecaster=Forecaster(),
        model="m",
        clock=harness.clock,
    )
    harness.service._hooks = (*harness.service._hooks, admin.decisions.on_outcome)
    sync = PolicySync(harness.policies)
    policy = policy or PolicyAdmin(harness.policies, sync, PolicyChanges(sync))
    api = Api(
        settings=DeploymentSettings(
            http=HttpSettings(max_body_bytes=2048),
            tenancy=TenancySettings(share_prefix_cache=share_prefix_cache),
        ),
        service=harness.service,
        pools=harness.pools,
        models=ModelList(harness.pools),
        admin=admin,
        metrics=Metrics(state_of(harness)),
        tenants=TenantApi(
            tenancy=tenancy or Tenancy(trusted_header=True),
            preferences=harness.preferences,
            policies=harness.policies,
            alpha=admin.alpha,
        ),
        policy=policy,
        canary=CanaryAdmin(harness.canary_watch, shadow or Shadow(), policy),
        guard=OperatorGuard(admin_token=token, metrics_token=metrics_token, open_admin=open_admin),
    )
    transport = httpx.ASGITransport(app=api.app(), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of a response, which must be OpenAI's object under this status."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["code"] == status
    return error

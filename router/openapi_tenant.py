"""The OpenAPI document's part about what a tenant sees and sets with its own key."""

from __future__ import annotations

import functools
from typing import Any, Final

from pydantic import BaseModel

from policies.overrides import SelfService
from policies.preferences import Preferences
from router.openapi_completions import TENANT_HEADER, TENANT_SECURITY
from router.openapi_words import (
    JSON_TYPE,
    SHARE,
    TEXT,
    Json,
    answer,
    body,
    header,
    listed,
    maybe,
    named,
    operation,
    query,
    ref,
    shape,
)

ETAG: Final[Json] = {"type": "string", "pattern": '^".*"$'}


@functools.cache
def model_schemas(model: type[BaseModel]) -> dict[str, Json]:
    """The schema of a model under its name, and those of the models in it under theirs."""
    schema: dict[str, Any] = model.model_json_schema(
        by_alias=True, ref_template="#/components/schemas/{model}", mode="validation"
    )
    return {**schema.pop("$defs", {}), model.__name__: schema}


def tenant_schemas() -> dict[str, Json]:
    """What tenants are shown. Preferences are described by the models that check them."""
    band = shape({"metric": TEXT, "enable_above": SHARE, "disable_below": SHARE})
    return {
        **model_schemas(Preferences),
        **model_schemas(SelfService),
        "TenantAlpha": shape(
            {
                "tenant": TEXT,
                "entries": listed(ref("AlphaEntry")),
                "effective": named(shape({"mode": TEXT, "threshold": band})),
                "preferences": ref("Preferences"),
                "self_service": maybe(ref("SelfService")),
            },
            about="A tenant's own acceptance, what decides its requests per task, and what it may set.",
        ),
    }


def tenant_paths() -> dict[str, Json]:
    """What a tenant may ask about itself."""
    shown = answer("What the tenant set.", ref("Preferences"), headers={"ETag": ETAG})
    if_match = header("If-Match", "Change them only if they are still what this ETag names.")
    common: dict[str, Any] = {"tag": "tenant", "security": TENANT_SECURITY}
    return {
        "/v1/specroute/alpha": {
            "get": operation(
                "ownAlpha",
                "Show your own acceptance and settings",
                answer("Rows of your own requests; nothing of anybody else.", ref("TenantAlpha")),
                errors=(401, 403),
                parameters=[
                    query("task", "Only this task."),
                    query("tenant", "Yourself, or nobody."),
                    TENANT_HEADER,
                ],
                **common,
            )
        },
        "/v1/specroute/report": {
            "get": operation(
                "ownReport",
                "Show what speculation saved you",
                answer("Of your own requests; nothing of anybody else.", ref("Report")),
                errors=(400, 401, 403),
                parameters=[
                    query("window", "A duration, 24h unless given."),
                    query("task", "Only this task."),
                    query("tenant", "Yourself, or nobody."),
                    TENANT_HEADER,
                ],
                **common,
            )
        },
        "/v1/specroute/preferences": {
            "get": operation(
                "ownPreferences",
                "Show your preferences",
                shown,
                errors=(401, 403),
                parameters=[TENANT_HEADER],
                **common,
            ),
            "put": operation(
                "setPreferences",
                "Replace your preferences",
                shown,
                errors=(401, 403, 412, 413, 503, 507),
                parameters=[if_match, TENANT_HEADER],
                given=body(
                    {JSON_TYPE: ref("Preferences")}, "Within the bounds of `self_service`; up to 16 KiB."
                ),
                answers={
                    422: answer("Every preference that cannot be set.", ref("InvalidPreferences")),
                },
                **common,
            ),
            "delete": operation(
                "forgetPreferences",
                "Forget your preferences",
                shown,
                errors=(401, 403, 412, 503),
                parameters=[if_match, TENANT_HEADER],
                **common,
            ),
        },
    }

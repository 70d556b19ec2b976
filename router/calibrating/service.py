"""What a running service is made of, as a calibration has to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from policies.calibrating import PoolFacts
from policies.replay import Lookup
from replicas.drafting import COPYING
from router.admin_client import AdminClient, AdminError

CONNECT_S: Final = 5.0
"""For a connection, and for a look at what is there."""
_SHOWN: Final = 200


class ServiceError(Exception):
    """The service cannot be calibrated; one line that says what to do."""


class OverridesError(ServiceError):
    """Its policy lets nobody choose a route."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a service is made of: its `pools`, and those that are `away`, of which no replica answers.

    `lookups` are of the pools whose drafts can be replayed.
    """

    model: str
    max_model_len: int | None
    policy: str
    policy_name: str
    pools: tuple[PoolFacts, ...]
    lookups: Mapping[str, Lookup]
    in_flight: int
    away: tuple[PoolFacts, ...] = ()


def facts(url: str, api_key: str | None = None) -> Facts:
    """What the admin API and the list of models say.

    Raises:
        ServiceError: Nobody answers, or it is no specroute that lets us ask.
        AdminUrlError: `url` is none.
    """
    client = AdminClient(url)
    try:
        policy, told = _told(client, url, "policy"), _told(client, url, "replicas")["pools"]
        card = _models(url, api_key)["data"][0]
        return Facts(
            model=str(card["id"]),
            max_model_len=card.get("max_model_len"),
            policy=str(policy["text"]),
            policy_name=f"{policy['name']}@{policy['revision']}",
            pools=tuple(_pool(pool) for pool in told if pool["available"]),
            lookups={
                pool["profile"]: Lookup(pool["prompt_lookup"]["min"], pool["prompt_lookup"]["max"])
                for pool in told
                if pool.get("prompt_lookup")
            },
            in_flight=sum(pool["in_flight"] for pool in told),
            away=tuple(_pool(pool) for pool in told if not pool["available"]),
        )
    except AdminError as error:
        raise ServiceError(str(error)) from None
    except (LookupError, TypeError) as error:
        raise ServiceError(f"{url}: what answers there is no specroute of this version ({error})") from None


def cost(url: str) -> Mapping[str, Any]:
    """What the service knows of its step times.

    Raises:
        ServiceError: It does not say.
    """
    try:
        return _told(AdminClient(url), url, "cost")
    except AdminError as error:
        raise ServiceError(str(error)) from None


def _told(client: AdminClient, url: str, what: str) -> Mapping[str, Any]:
    answer = client.call("GET", f"/admin/v1/{what}")
    if not answer.ok:
        raise ServiceError(f"{url}: {answer.message or f'refused with status {answer.status}'}")
    return answer.body


def _models(url: str, api_key: str | None) -> Any:
    try:
        response = httpx.get(
            f"{url.rstrip('/')}/v1/models", headers=key_header(api_key), timeout=CONNECT_S, trust_env=False
        )
        return response.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise ServiceError(f"{url}/v1/models: {one_line(str(error)) or type(error).__name__}") from None


def key_header(api_key: str | None) -> dict[str, str]:
    """The header that says whose request it is, where there are keys."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def one_line(text: str) -> str:
    """The text without its line breaks, and no longer than anybody reads."""
    return " ".join(text.split())[:_SHOWN]


def _pool(told: Mapping[str, Any]) -> PoolFacts:
    method = str(told["method"])
    return PoolFacts(
        profile=str(told["profile"]),
        method=method,
        max_k=int(told["max_k"]),
        replicas=int(told["replicas"]),
        capacity=int(told["capacity"]),
        is_model=int(told["max_k"]) > 0 and method not in COPYING,
        least_asked=int(told.get("least_asked", 1)),
    )

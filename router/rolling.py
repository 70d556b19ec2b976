"""Changes a running pool to the drafter that its profile names now, one engine at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from router.admin_client import AdminClient, AdminError, AdminTokenError

_LOOK_S: Final = 2.0
_ENGINE_LIMIT_S: Final = 900.0
"""For one engine: its requests' deadline, and its successor's start."""


class RollError(Exception):
    """The pool is not changed, or not all of it; the text is one line that says what to do."""


def drafted_pool(client: AdminClient, profile: str | None) -> Mapping[str, Any]:
    """The pool that is meant: the one of this name, else the only one with a drafter's folder.

    Raises:
        RollError: There is none, or there are several.
        AdminError: The service cannot be asked.
    """
    pools = _pools(client, None)
    if profile is not None:
        for pool in pools:
            if pool["profile"] == profile:
                return pool
        known = ", ".join(pool["profile"] for pool in pools)
        raise RollError(f"--profile: the service has no pool {profile!r}; it has {known}")
    found = [pool for pool in pools if pool["draft_model"]]
    if len(found) != 1:
        names = ", ".join(pool["profile"] for pool in found) or "none"
        raise RollError(f"--profile: name the pool; those with a drafter's folder: {names}")
    return found[0]


def roll(
    client: AdminClient,
    profile: str,
    version: str,
    *,
    say: Callable[[str], None],
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    limit_s: float = _ENGINE_LIMIT_S,
) -> int:
    """Starts every engine of the pool anew that has not loaded `version`; how many that were.

    The next one goes when the one before is back. Interrupted, it goes on where it stopped. An engine knows
    its drafter by the folder's last name, so the folder may be mounted elsewhere there.

    Raises:
        RollError: An engine cannot be started anew now, or its successor does not come.
        AdminError: The service cannot be asked.
    """
    renewed = 0
    until_s = clock() + limit_s
    while True:
        pool = _asked_pool(client, profile)
        engines = [] if pool is None else pool["engines"]
        stale = [engine for engine in engines if PurePath(engine["drafter"] or "").name != version]
        whole = pool is not None and len(engines) >= pool["expected"]
        if whole and not stale:
            return renewed
        if clock() > until_s:
            raise RollError(
                f"{profile}: {len(engines) - len(stale)} engines have {version}, {len(stale)} have not, "
                "and the next does not come: see the service's log, then --roll to go on or --rollback"
            )
        if whole and not any(engine["leaving"] for engine in engines):
            _renew(client, profile, stale[0]["replica"])
            renewed += 1
            say(f"rolling: {profile}: engine {stale[0]['replica']} is started anew, {len(stale) - 1} to go")
            until_s = clock() + limit_s
        sleep(_LOOK_S)


def _asked_pool(client: AdminClient, profile: str) -> Mapping[str, Any] | None:
    """None where the service does not answer just now: its proxy or a router may be coming back."""
    try:
        return next(iter(_pools(client, profile)), None)
    except AdminTokenError:
        raise
    except AdminError:
        return None


def _pools(client: AdminClient, profile: str | None) -> list[Mapping[str, Any]]:
    query = "" if profile is None else f"?profile={quote(profile)}"
    answer = client.call("GET", f"/admin/v1/engines{query}")
    if not answer.ok:
        raise AdminError(f"the service's engines: {answer.message or answer.status}")
    return list(answer.body["pools"])


def _renew(client: AdminClient, profile: str, replica: str) -> None:
    body = json.dumps({"profile": profile, "replica": replica}).encode()
    answer = client.call("POST", "/admin/v1/engines/renew", body, {"Content-Type": "application/json"})
    if answer.status == 409:  # noqa: PLR2004 - Conflict
        raise RollError(f"{profile}: {answer.message}; start the service anew for the new drafter")
    if not answer.ok and answer.status != 404:  # noqa: PLR2004 - it went by itself meanwhile
        raise RollError(f"{profile}: {answer.message}")

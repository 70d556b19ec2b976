"""The newest decisions, for `GET /admin/v1/decisions`: why did this request go there."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, get_args

from policies.decide import Reason, Route
from policies.memory import MAX_TASKS, Recent
from policies.problems import choices_hint
from policies.units import parse_duration
from router.decision_entry import entry
from router.decision_log import DecisionLog
from router.errors import BadRequestError
from router.explanations import explanation
from router.outcomes import Outcome, Result

_KEPT: Final = 1000
MOST_LISTED: Final = 1000
_USUALLY_LISTED: Final = 100
_PART: Final = 20
"""Entries that are written at once, in less than a millisecond."""
_BY_CHANCE: Final = frozenset(
    {
        Reason.EXPLORATION,
        Reason.HOLDOUT,
        Reason.OVERRIDE,
        Reason.UNSUPPORTED,
        Reason.SATURATED,
        Reason.POOL_UNAVAILABLE,
        Reason.FAILOVER,
    }
)
"""Reasons that say nothing of what is chosen for a task otherwise."""
_SAME: Final = ("tenant", "task", "route", "profile", "reason", "policy", "result", "request_id", "trace_id")
CLOSED: Final[Mapping[str, tuple[str, ...]]] = {
    "route": get_args(Route),
    "reason": tuple(reason.value for reason in Reason),
    "result": get_args(Result),
}


class Query(NamedTuple):
    """What is asked for: entries with these values, not older than `since_s`, at most `limit`."""

    limit: int = _USUALLY_LISTED
    since_s: float = -math.inf
    same: Mapping[str, str] = {}

    def takes(self, entry: Mapping[str, Any]) -> bool:
        """Whether the entry is asked for; a policy may be named without its revision."""
        if entry["at"] < self.since_s:
            return False
        for name, wanted in self.same.items():
            value = entry[name]
            if value != wanted and not (name == "policy" and value.partition("@")[0] == wanted):
                return False
        return True


def read_query(given: Mapping[str, str], now_s: float) -> Query:
    """The query that URL parameters describe.

    Raises:
        BadRequestError: Naming the parameter that cannot be used.
    """
    known = ("limit", "since", *_SAME)
    for name, value in given.items():
        if name not in known:
            raise BadRequestError(f"{name}: unknown parameter; {choices_hint(name, known)}", param=name)
        if value not in CLOSED.get(name, (value,)):
            hint = choices_hint(value, CLOSED[name])
            raise BadRequestError(f"{name}: {value[:64]!r} is none; {hint}", param=name)
    return Query(
        _limit(given.get("limit", str(_USUALLY_LISTED))),
        _since_s(given["since"], now_s) if "since" in given else -math.inf,
        {name: given[name] for name in _SAME if name in given},
    )


class Decisions:
    """Keeps the last outcomes of this router, and the arm that was last chosen for each task and tenant."""

    def __init__(self, clock: Callable[[], float] = time.time, *, kept: int = _KEPT) -> None:
        self._clock = clock
        self._entries: deque[dict[str, Any]] = deque(maxlen=kept)
        self._arms: Recent[tuple[str | None, str], dict[str, Any]] = Recent(MAX_TASKS)
        self.log: DecisionLog | None = None
        """The log that is written beside, whose counts `listed` tells."""

    def on_outcome(self, outcome: Outcome) -> None:
        """Keep one outcome."""
        self._entries.append(entry(outcome))
        decision = outcome.decision
        if decision.reason not in _BY_CHANCE and not outcome.canary:
            profile, k = decision.intended or (decision.profile, decision.k)
            arm = {"profile": profile, "k": k, "reason": decision.reason.value, "at": outcome.at_s}
            self._arms.set((outcome.request.tenant, outcome.task), arm)
            self._arms.set((None, outcome.task), arm)

    def listed(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The newest first, each with its explanation, as URL parameters ask.

        Raises:
            BadRequestError: Naming the parameter that cannot be used.
        """
        query = read_query(given, self._clock())
        return {"decisions": [_explained(one) for one in self._found(query)], "log": self._counts()}

    def written(self, given: Mapping[str, str]) -> AsyncIterator[bytes]:
        """What `listed` tells, as JSON in parts: a thousand entries are megabytes, and others want a turn.

        Raises:
            BadRequestError: Naming the parameter that cannot be used.
        """
        return self._parts(list(self._found(read_query(given, self._clock()))))

    def arm(self, task: str, tenant: str | None) -> dict[str, Any] | None:
        """The arm that was chosen last for the task and tenant (None: for anybody).

        Chance, outages and a canary's candidate are left out. In shadow mode it is the one that was only
        decided. None where nothing was decided yet.
        """
        return self._arms.get((tenant, task))

    async def _parts(self, entries: Sequence[dict[str, Any]]) -> AsyncIterator[bytes]:
        yield b'{"decisions":['
        for start in range(0, len(entries), _PART):
            part = [_explained(one) for one in entries[start : start + _PART]]
            text = json.dumps(part, allow_nan=False, separators=(",", ":"))[1:-1]
            yield (f",{text}" if start else text).encode()
            await asyncio.sleep(0)
        yield f'],"log":{json.dumps(self._counts())}}}'.encode()

    def _counts(self) -> dict[str, int] | None:
        return self.log.counts() if self.log else None

    def _found(self, query: Query) -> Iterator[dict[str, Any]]:
        found = 0
        for one in reversed(self._entries):
            if found >= query.limit:
                return
            if query.takes(one):
                found += 1
                yield one


def _explained(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "explanation": explanation(one)}


def _limit(given: str) -> int:
    if (
        not (given.isascii() and given.isdecimal())
        or len(given) > len(str(MOST_LISTED))
        or not 1 <= int(given) <= MOST_LISTED
    ):
        raise BadRequestError(f"limit: a whole number from 1 to {MOST_LISTED}", param="limit")
    return int(given)


_OFFSET: Final = re.compile(r"(:[0-9.]+) (?=[0-9]{2}:?[0-9]{2}$)")


def _since_s(given: str, now_s: float) -> float:
    """A moment: seconds since 1970, an ISO time, or how long ago."""
    try:
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", given):
            return float(given)
        if re.fullmatch(r"[0-9.]+[a-z0-9.]*", given):
            return now_s - parse_duration(given)
        # In a query a plus is a space: an offset from UTC that nobody encoded comes with one.
        return dt.datetime.fromisoformat(_OFFSET.sub(r"\1+", given)).astimezone().timestamp()
    except (ValueError, OverflowError):
        hint = "write 10m for ten minutes ago, 2026-11-23T09:00+01:00, or seconds since 1970"
        raise BadRequestError(f"since: {given[:64]!r} is no time; {hint}", param="since") from None

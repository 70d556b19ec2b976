"""Replicas that hang: nothing of theirs fails, so only their silence tells.

Where calls have waited for a frame for a limit, the replicas that may have them are asked by name. One is
given up when

- its process stands still (stopped, swapping): it leaves two questions in a row unanswered, or
- its engine stands still: it says that requests run there, and that no pass was made for `STUCK` limits.

    limit = max(silence_s, STEPS · t)     t: a plain step of the pool, in seconds

A frame of any call shows that a replica works.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from router.waiting import Wait

STEPS: Final = 20.0
STUCK: Final = 6.0
"""Limits that an engine may take for one pass: a long prompt stops its whole batch for a while."""
QUESTIONS: Final = 2
_KNOWN_S: Final = 600.0
_NEVER_S: Final = float("-inf")


class _Passes(NamedTuple):
    """How many passes an engine had made, and when that was first heard."""

    made: object
    since_s: float


class Silence:
    """When each replica of one pool was last seen working. Time is passed in."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._worked_s: dict[str, float] = {}
        self._passes: dict[str, _Passes] = {}
        self._unanswered: dict[str, int] = {}
        self._hung_s = _NEVER_S

    def limit_s(self, step_s: float) -> float:
        """How long a call may wait for a frame before anybody is asked, where a plain step takes `step_s`."""
        return max(self._silence_s, STEPS * step_s)

    def framed(self, replica: str, now_s: float) -> None:
        """A call has a frame of the replica."""
        if replica:
            self._worked_s[replica] = now_s

    def answered(self, replica: str, status: Mapping[str, Any], now_s: float) -> None:
        """The replica told its status: that it is idle, or has made passes since it told last, is work."""
        if not replica:
            return
        self._unanswered.pop(replica, None)
        known = self._passes.get(replica)
        passes = status.get("passes")
        if known is None or known.made != passes or not status.get("running") or passes is None:
            self._passes[replica] = _Passes(passes, now_s)
            self._worked_s[replica] = now_s

    def unanswered(self, replica: str) -> bool:
        """The replica left a question unanswered; whether it hangs."""
        self._unanswered[replica] = count = self._unanswered.get(replica, 0) + 1
        return count >= QUESTIONS

    def alone(self, replica: str) -> None:
        """It is the only one of its pool: those that were there before are no more."""
        for name in {*self._worked_s, *self._passes, *self._unanswered} - {replica}:
            self.forget(name)

    def forget(self, replica: str) -> None:
        """It is no more."""
        for known in (self._worked_s, self._passes, self._unanswered):
            known.pop(replica, None)

    def suspects(self, waits: Collection[Wait], now_s: float, limit_s: float) -> list[str]:
        """Whom to ask by name, the longest silent first: calls wait that may be theirs."""
        for name in [name for name, at_s in self._worked_s.items() if now_s - at_s > _KNOWN_S]:
            if not any(wait.replica == name for wait in waits):
                self.forget(name)
        return self._silent(waits, now_s, limit_s)

    def stuck(self, waits: Collection[Wait], now_s: float, limit_s: float) -> list[str]:
        """The replicas whose engines stand still: they answer, but nobody has seen them work for long."""
        return [
            name
            for name in self._silent(waits, now_s, STUCK * limit_s)
            if (passes := self._passes.get(name)) and now_s - passes.since_s >= STUCK * limit_s
        ]

    def gave_up(self, replica: str, now_s: float) -> None:
        """The replica was given up; calls that were sent before may be there."""
        self.forget(replica)
        self._hung_s = now_s

    def lost(self, waits: Collection[Wait], now_s: float, limit_s: float) -> list[Wait]:
        """Calls that nobody has begun to answer, and may be at a replica that was given up since."""
        return [
            wait
            for wait in waits
            if not wait.replica and wait.sent_s <= self._hung_s and wait.silent_s(now_s) >= limit_s
        ]

    def _silent(self, waits: Collection[Wait], now_s: float, limit_s: float) -> list[str]:
        """The replicas that calls have waited for, and that nobody has seen working, for `limit_s`."""
        waited_for = {wait.replica for wait in waits if wait.silent_s(now_s) >= limit_s}
        found = [
            name
            for name, at_s in self._worked_s.items()
            if now_s - at_s >= limit_s and (name in waited_for or "" in waited_for)
        ]
        return sorted(found, key=self._worked_s.__getitem__)

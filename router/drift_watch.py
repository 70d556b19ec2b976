"""Waits for a service to say that a pool's drafter rots."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from router.admin_client import AdminClient, AdminError, AdminTokenError
from router.settings import ADMIN_TOKEN_VARIABLE

_LOOK_S: Final = 30.0
_ROT: Final = "drafter_rot"


class DriftWatch:
    """Drift events of one pool, each noticed once.

    Only the rot of a drafter counts: when one task falls, or the mix of tasks shifts, the drafter still fits
    its target. Between two refreshes at least `least_s` seconds pass, however much drifts meanwhile. Why
    the service cannot be asked is said once, and again when that changes; it is asked on.
    """

    def __init__(
        self,
        client: AdminClient,
        profile: str,
        *,
        least_s: float,
        say: Callable[[str], None],
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._profile = profile
        self._least_s = least_s
        self._say = say
        self._sleep = sleep
        self._clock = clock
        self._since_s = clock()
        self._rested_s = float("-inf")
        self._trouble = ""

    def wait(self) -> Mapping[str, Any]:
        """The next event; returns when it is there and the last refresh is long enough ago."""
        while True:
            event = self._newest()
            if event is not None and self._clock() >= self._rested_s + self._least_s:
                self._since_s = self._clock()
                self._say(
                    f"watch: the drafter of {self._profile} rots: alpha {event['before']:.2f} -> "
                    f"{event['after']:.2f}"
                )
                return event
            self._sleep(_LOOK_S)

    def refreshed(self) -> None:
        """A refresh is over, however it ended: what was noticed until now is settled."""
        self._since_s = self._rested_s = self._clock()

    def _newest(self) -> Mapping[str, Any] | None:
        for event in self._events():
            if event["kind"] == _ROT and event["profile"] == self._profile and event["at"] > self._since_s:
                found: Mapping[str, Any] = event
                return found
        return None

    def _events(self) -> Sequence[Mapping[str, Any]]:
        try:
            answer = self._client.call("GET", "/admin/v1/drift")
        except AdminTokenError as error:
            fix = f"give {ADMIN_TOKEN_VARIABLE} the service's token and start the watch anew"
            return self._troubled("token", f"{error} Until it is right nothing is noticed: {fix}")
        except AdminError as error:
            return self._troubled("away", f"{error}; it is asked again")
        if not answer.ok:
            told = f"the service answers {answer.status}: {answer.message or 'it does not say why'}"
            return self._troubled(f"status {answer.status}", f"{told}; it is asked again")
        if self._trouble:
            self._trouble = ""
            self._say("watch: the service answers again")
        events: Sequence[Mapping[str, Any]] = answer.body.get("events") or ()
        return events

    def _troubled(self, trouble: str, told: str) -> Sequence[Mapping[str, Any]]:
        if trouble != self._trouble:
            self._say(f"watch: {told}")
        self._trouble = trouble
        return ()

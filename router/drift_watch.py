"""Waits for a service to say that a pool's drafter rots."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from router.admin_client import AdminClient, AdminError

_LOOK_S: Final = 30.0
_ROT: Final = "drafter_rot"


class DriftWatch:
    """Drift events of one pool, each noticed once.

    Only the rot of a drafter counts: when one task falls, or the mix of tasks shifts, the drafter still fits
    its target. Between two refreshes at least `least_s` seconds pass, however much drifts meanwhile.
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
        self._answering = True

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
        try:
            answer = self._client.call("GET", "/admin/v1/drift")
        except AdminError as error:
            if self._answering:
                self._say(f"watch: {error}; it is asked again")
            self._answering = False
            return None
        self._answering = True
        for event in answer.body.get("events") or ():
            if event["kind"] == _ROT and event["profile"] == self._profile and event["at"] > self._since_s:
                found: Mapping[str, Any] = event
                return found
        return None

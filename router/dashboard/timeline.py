"""What happened on this router, as charts mark it: drift, policies, lost engines, the canary."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

from policies.drift import DriftEvent
from router.canary_watch import CanaryState
from router.drifting import described
from router.policy_source import PolicyState
from router.pools import Pools

_KEPT: Final = 100
_MOST_TEXT: Final = 400

Kind = Literal["drift", "policy", "engine", "canary"]


class Timeline:
    """Keeps the last hundred events. Drift is told to it; what else changed it finds when it looks."""

    def __init__(
        self,
        *,
        pools: Pools,
        policy: Callable[[], PolicyState],
        canary: Callable[[], CanaryState],
        clock: Callable[[], float],
    ) -> None:
        self._pools = pools
        self._policy = policy
        self._canary = canary
        self._clock = clock
        self._events: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._number = 0
        self._seen_policy: PolicyState | None = None
        self._seen_phase: str | None = None
        self._answered: set[str] = set()
        self._lost: set[str] = set()

    def on_drift(self, event: DriftEvent) -> None:
        """Keep a drift event."""
        bad = event.kind in {"task_fell", "drafter_rot"}
        text = described(event).removeprefix("drift: ").replace("->", "→")
        self._keep("drift", text, event.at_s, bad=bad, task=event.task, profile=event.profile)

    def look(self) -> None:
        """See what changed since the last look."""
        now_s = self._clock()
        self._look_at_policy(now_s)
        self._look_at_pools(now_s)
        phase = self._canary().phase
        if phase != self._seen_phase and self._seen_phase is not None:
            why = self._canary().why
            text = f"canary: {self._seen_phase} → {phase}{f': {why}' if why else ''}"
            self._keep("canary", text, now_s, bad=phase in {"stopped", "broken"})
        self._seen_phase = phase

    def told(self) -> list[dict[str, Any]]:
        """The newest first: `{id, kind, at, text, bad, task, profile}`."""
        return list(reversed(self._events))

    def _look_at_policy(self, now_s: float) -> None:
        state, before = self._policy(), self._seen_policy
        self._seen_policy = state
        if before is None:
            return
        if (state.revision, state.version) != (before.revision, before.version):
            who = f" by {state.author}" if state.author else ""
            why = f": {state.note}" if state.note else ""
            text = f"{state.name}@{state.revision} in force ({state.origin}{who}){why}"
            self._keep("policy", text, now_s)
        if state.rejected and state.rejected != before.rejected:
            first = state.rejected.splitlines()[0]
            self._keep("policy", f"a newer policy was rejected: {first}", now_s, bad=True)

    def _look_at_pools(self, now_s: float) -> None:
        for state in self._pools:
            name = state.profile.name
            if state.available:
                if name in self._lost:
                    self._keep("engine", f"{name} answers again", now_s, profile=name)
                self._lost.discard(name)
                self._answered.add(name)
            elif name in self._answered and name not in self._lost:
                self._lost.add(name)
                why = f": {state.last_error}" if state.last_error else ""
                self._keep("engine", f"{name} cannot answer{why}", now_s, bad=True, profile=name)

    def _keep(
        self,
        kind: Kind,
        text: str,
        at_s: float,
        *,
        bad: bool = False,
        task: str | None = None,
        profile: str | None = None,
    ) -> None:
        self._number += 1
        self._events.append(
            {
                "id": self._number,
                "kind": kind,
                "at": at_s,
                "text": text[:_MOST_TEXT],
                "bad": bad,
                "task": task,
                "profile": profile,
            }
        )

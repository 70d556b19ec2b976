"""All profiles and tasks together: who moved, and what it means."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from policies.acceptance import Estimate
from policies.cells import TemperatureBucket
from policies.drift.detector import Change, Detector
from policies.drift.events import DriftEvent
from policies.drift.mix import Mix
from policies.drift.reference import Reading
from policies.evidence import RequestSteps, counters, is_sound, positions

MAX_TASKS: Final = 128
"""Tasks of a profile that are watched; the ones longest without a request are given up first."""

MAX_PROFILES: Final = 64

ROT_WINDOW_S: Final = 1800.0
"""Falls within this time are one event, if they are of most tasks."""

ROT_TASKS: Final = 3
ROT_SHARE: Final = 2 / 3
ACTIVE_REQUESTS: Final = 12
"""So many requests within the window give a task the chance to have fallen: about a detection's delay."""


@dataclass(slots=True)
class _Watched:
    detector: Detector = field(default_factory=Detector)
    seen_s: deque[float] = field(default_factory=lambda: deque(maxlen=ACTIVE_REQUESTS))


@dataclass(slots=True)
class _Fall:
    at_s: float
    change: Change


@dataclass(slots=True)
class _Profile:
    watched: OrderedDict[str, _Watched] = field(default_factory=OrderedDict)
    mix: Mix = field(default_factory=Mix)
    falls: dict[str, _Fall] = field(default_factory=dict)


class DriftMonitor:
    """Watches the acceptance of every task on every profile, and the mix of tasks.

    Pure state: times come with the observations. What cannot be true (impossible step counts, a time that is
    not finite) is ignored, and a clock that steps back only makes falls look simultaneous.
    """

    def __init__(self, *, max_tasks: int = MAX_TASKS) -> None:
        self._max_tasks = max_tasks
        self._profiles: OrderedDict[str, _Profile] = OrderedDict()

    def observe(
        self,
        profile: str,
        task: str,
        steps: RequestSteps,
        expected: Estimate,
        now_s: float,
        *,
        temperature: TemperatureBucket = "low",
    ) -> tuple[DriftEvent, ...]:
        """Take in the steps of one request; the events it completes.

        `expected` is what is believed about such requests: it starts a reference where much is known already,
        and says at which k figures are reported. Requests that could not speculate say nothing.
        """
        if steps.problem() is not None or steps.k < 1:
            return ()
        return self.observe_counts(profile, task, counters(steps), expected, now_s, temperature=temperature)

    def observe_counts(
        self,
        profile: str,
        task: str,
        counts: Mapping[str, float],
        expected: Estimate,
        now_s: float,
        *,
        temperature: TemperatureBucket = "low",
    ) -> tuple[DriftEvent, ...]:
        """As `observe`, from the counters of one request, or of one replayed answer at its largest k."""
        if not math.isfinite(now_s) or not is_sound(counts):
            return ()
        counted = tuple(positions(counts))
        if not counted:
            return ()
        watched = self._watch(profile, task)
        watched.seen_s.append(now_s)
        change = watched.detector.observe(Reading(temperature, counted), expected)
        if change is None:
            return ()
        state = self._profiles[profile]
        state.mix.restart()
        event = DriftEvent(
            "task_fell" if change.direction == "fell" else "task_rose",
            profile,
            task,
            now_s,
            change.before,
            change.after,
            change.requests,
        )
        return event, *_rotted(profile, state, task, change, now_s)

    def arrived(self, task: str, now_s: float) -> tuple[DriftEvent, ...]:
        """Count one request of a task toward the traffic's mix, whichever way it was routed."""
        if not math.isfinite(now_s):
            return ()
        events = []
        for profile, state in self._profiles.items():
            shift = state.mix.observe(task, _rates(state))
            if shift is None:
                continue
            before, after, requests, gained = shift
            events.append(
                DriftEvent("traffic_shift", profile, None, now_s, before, after, requests, gained=gained)
            )
        return tuple(events)

    def restart(self, profile: str, task: str, now_s: float) -> tuple[DriftEvent, ...]:
        """Another router saw this task move and cut its evidence: what was gathered here is settled.

        A fall that was gathering here counts as one, since every router sees a part of the falls only.
        """
        state = self._profiles.get(profile)
        watched = state.watched.get(task) if state is not None else None
        if state is None or watched is None:
            return ()
        change = watched.detector.gathering
        watched.detector.restart()
        watched.seen_s.clear()
        state.mix.restart()
        if change is None or not math.isfinite(now_s):
            return ()
        return _rotted(profile, state, task, change, now_s)

    def redrafted(self, profile: str) -> None:
        """The profile has another drafter: references and falls of the one before say nothing of it."""
        state = self._profiles.get(profile)
        if state is None:
            return
        for watched in state.watched.values():
            watched.detector.restart()
            watched.seen_s.clear()
        state.falls.clear()
        state.mix.restart()

    def _watch(self, profile: str, task: str) -> _Watched:
        state = self._profiles.setdefault(profile, _Profile())
        self._profiles.move_to_end(profile)
        watched = state.watched.setdefault(task, _Watched())
        state.watched.move_to_end(task)
        if len(state.watched) > self._max_tasks:
            state.watched.popitem(last=False)
        if len(self._profiles) > MAX_PROFILES:
            self._profiles.popitem(last=False)
        return watched


def _rotted(profile: str, state: _Profile, task: str, change: Change, now_s: float) -> tuple[DriftEvent, ...]:
    """The drafter's rot, if most of the profile's active tasks fell within the window."""
    falls = state.falls
    if change.direction == "rose":
        falls.pop(task, None)
        return ()
    falls[task] = _Fall(now_s, change)
    for name in [name for name, fall in falls.items() if now_s - fall.at_s > ROT_WINDOW_S]:
        del falls[name]
    active = {name for name, watched in state.watched.items() if _is_active(watched, now_s)}
    if len(falls) < ROT_TASKS or len(falls) < ROT_SHARE * len(active | falls.keys()):
        return ()
    fallen, changes = tuple(sorted(falls)), [fall.change for fall in falls.values()]
    falls.clear()  # told once: another one needs as many falls again
    requests = sum(each.requests for each in changes)
    before = sum(each.before * each.requests for each in changes) / requests
    after = sum(each.after * each.requests for each in changes) / requests
    return (DriftEvent("drafter_rot", profile, None, now_s, before, after, requests, fallen=fallen),)


def _rates(state: _Profile) -> dict[str, float]:
    """The effective acceptance of the tasks whose reference has evidence."""
    return {
        name: level
        for name, watched in state.watched.items()
        if (level := watched.detector.level) is not None
    }


def _is_active(watched: _Watched, now_s: float) -> bool:
    return len(watched.seen_s) == ACTIVE_REQUESTS and now_s - watched.seen_s[0] <= ROT_WINDOW_S

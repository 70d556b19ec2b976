"""Watches what requests accept, tells when it changed, and cuts the evidence that is no longer true."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, get_args

from policies.acceptance import Estimate
from policies.cells import CellKey, Origin, TemperatureBucket
from policies.drift import DriftEvent, DriftMonitor, forget_factor
from policies.evidence import RequestSteps
from router.learning import Learning
from router.outcomes import Outcome
from router.policy_source import PolicySource
from router.requests import ANONYMOUS
from router.stats import StatsBuffer

_log = logging.getLogger(__name__)

_BUCKETS: Final[tuple[TemperatureBucket, ...]] = get_args(TemperatureBucket)
_FRESH_S: Final = 60.0
"""What is expected only starts a reference; as soon as there is one, it is not asked for."""
_MAX_KEPT: Final = 2_000
_TRAFFIC: Final = 1.0
"""The weight of a request that counts whole. Who sends less asks the same many times, as calibrations do."""
_CUT_AT_ONCE: Final = 200
"""Cells, some 2 ms."""

DriftHook = Callable[[DriftEvent], None]
"""Receives every event; must not block."""


@dataclass(frozen=True, slots=True)
class _Expected:
    estimate: Estimate
    at_s: float


class Drifting:
    """Feeds a monitor with outcomes and replays, and acts on its events.

    Where a task moved, the old evidence of all its cells (temperatures, tenants, replays) is cut: here at
    once, in the store when it is next talked to. A cut by another router shows as a raised epoch; then the
    task's detector starts anew, since what it gathered is settled. Where a pool drafts with another drafter
    (`router.drafter_changes`), all of its profile's evidence is cut in the same way.

    `replayed` names the profiles whose answers are replayed: their evidence is the replay, and counting the
    engine's own steps beside it would count an answer twice.
    """

    def __init__(
        self,
        *,
        buffer: StatsBuffer,
        policies: PolicySource,
        learning: Learning,
        replayed: Iterable[str] = (),
        hooks: Iterable[DriftHook] = (),
        monitor: DriftMonitor | None = None,
    ) -> None:
        self._buffer = buffer
        self._policies = policies
        self._learning = learning
        self._replayed = frozenset(replayed)
        self._hooks = tuple(hooks)
        self._monitor = monitor or DriftMonitor()
        self._expected: OrderedDict[CellKey, _Expected] = OrderedDict()
        self._epochs: OrderedDict[tuple[str, str], tuple[int | None, ...]] = OrderedDict()

    def on_outcome(self, outcome: Outcome) -> None:
        """Take in one request: its task as traffic, and its steps where they are evidence."""
        ending, decision = outcome.ending, outcome.decision
        if outcome.result != "completed" or ending is None or outcome.request.hints.weight < _TRAFFIC:
            return
        self._act(self._monitor.arrived(outcome.task, outcome.at_s), outcome.at_s)
        if not ending.counted or decision.k < 1 or decision.profile in self._replayed:
            return
        key = CellKey(decision.profile, outcome.task, outcome.request.temperature)
        self._note_cuts(key, outcome.at_s)
        events = self._monitor.observe(
            key.profile,
            key.task,
            RequestSteps(decision.k, ending.per_step_drafted, ending.per_step_accepted),
            self._estimate(key, outcome.at_s),
            outcome.at_s,
            temperature=key.temperature,
        )
        self._act(events, outcome.at_s)

    def record_replay(
        self, profile: str, origin: Origin, counters: Mapping[str, float], now_s: float
    ) -> None:
        """Learn from a replayed answer, then watch it."""
        self._learning.record_replay(profile, origin, counters, now_s)
        if origin.weight < _TRAFFIC:
            return
        key = origin.cell(profile)._replace(tenant=None)
        self._note_cuts(key, now_s)
        events = self._monitor.observe_counts(
            profile,
            key.task,
            counters,
            self._estimate(key.of_replays(), now_s),
            now_s,
            temperature=key.temperature,
        )
        self._act(events, now_s)

    async def redrafted(self, profile: str, now_s: float, *, cut: bool) -> None:
        """Begin anew with a profile whose drafter is another one: what was accepted before is no reference.

        With `cut` its evidence is cut, of all tasks, tenants and temperatures; else another router does it.
        There may be tens of thousands of cells, so requests get their turn in between.
        """
        self._monitor.redrafted(profile)
        for known in [key for key in self._expected if key.served_profile == profile]:
            del self._expected[known]
        for name in [name for name in self._epochs if name[0] == profile]:
            del self._epochs[name]
        keys = [key for key in self._buffer if key.served_profile == profile] if cut else []
        for number, key in enumerate(keys, 1):
            self._cut_cell(key, now_s)
            if number % _CUT_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _act(self, events: Iterable[DriftEvent], now_s: float) -> None:
        for event in events:
            _log.warning("%s", described(event))
            if event.kind in {"task_fell", "task_rose"} and event.task is not None:
                self._cut(event.profile, event.task, now_s)
            for hook in self._hooks:
                hook(event)

    def _cut(self, profile: str, task: str, now_s: float) -> None:
        for key in [key for key in self._buffer if key.task == task and key.served_profile == profile]:
            self._cut_cell(key, now_s)
        self._forget_expected(profile, task)
        self._epochs[profile, task] = self._epochs_of(profile, task)

    def _cut_cell(self, key: CellKey, now_s: float) -> None:
        if (record := self._buffer.get(key)) is None:
            return
        policy = self._policies.resolve(tenant=key.tenant or ANONYMOUS, task=key.task)
        counts = record.decayed_to(now_s, policy.acceptance.half_life)
        self._buffer.cut(key, forget_factor(counts.get("requests", 0.0)))

    def _note_cuts(self, key: CellKey, now_s: float) -> None:
        """Start the detector anew if somebody else has cut this task since the last look."""
        name = key.profile, key.task
        epochs = self._epochs_of(*name)
        known = self._epochs.pop(name, None)
        self._epochs[name] = epochs
        if len(self._epochs) > _MAX_KEPT:
            self._epochs.popitem(last=False)
        if known is None or not any(_grew(*pair) for pair in zip(known, epochs, strict=True)):
            return
        _log.info("another router cut the evidence of %s on %s", key.task, key.profile)
        self._forget_expected(*name)
        self._act(self._monitor.restart(key.profile, key.task, now_s), now_s)

    def _epochs_of(self, profile: str, task: str) -> tuple[int | None, ...]:
        cells = [CellKey(profile, task, bucket) for bucket in _BUCKETS]
        return tuple(self._buffer.epoch(cell) for cell in (*cells, *(cell.of_replays() for cell in cells)))

    def _estimate(self, key: CellKey, now_s: float) -> Estimate:
        """What the cell says by itself: a tenant's or another temperature's evidence is not its reference."""
        kept = self._expected.get(key)
        if kept is not None and abs(now_s - kept.at_s) < _FRESH_S:
            return kept.estimate
        policy = self._policies.resolve(tenant=ANONYMOUS, task=key.task)
        record = self._buffer.get(key)
        counts = record.decayed_to(now_s, policy.acceptance.half_life) if record is not None else {}
        estimate = self._learning.believed(key.profile, key.task, counts, policy)
        self._expected[key] = _Expected(estimate, now_s)
        if len(self._expected) > _MAX_KEPT:
            self._expected.popitem(last=False)
        return estimate

    def _forget_expected(self, profile: str, task: str) -> None:
        for bucket in _BUCKETS:
            cell = CellKey(profile, task, bucket)
            self._expected.pop(cell, None)
            self._expected.pop(cell.of_replays(), None)


def _grew(known: int | None, now: int | None) -> bool:
    return known is not None and now is not None and now > known


def described(event: DriftEvent) -> str:
    """What happened, in the words of whoever runs the service."""
    figures = f"alpha {event.before:.2f} -> {event.after:.2f}, seen in {event.requests} requests"
    match event.kind:
        case "task_fell" | "task_rose":
            verb = "fell" if event.kind == "task_fell" else "rose"
            return f"drift: {event.task} on {event.profile} {verb}: {figures}; its old evidence is cut"
        case "drafter_rot":
            return (
                f"drift: the drafter of {event.profile} rots: {', '.join(event.fallen)} all fell "
                f"({figures}). Does it still match its target? Refresh it, or take it out of service"
            )
        case "traffic_shift":
            gained = ", ".join(
                f"{share.task} {share.before:.0%} -> {share.after:.0%}" for share in event.gained
            )
            return (
                f"drift: the traffic that {event.profile} could serve changed, its drafter did not: "
                f"{figures}, by the mix alone; more of {gained or 'no single task'}"
            )

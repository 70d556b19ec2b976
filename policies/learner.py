"""From outcomes to evidence, and from evidence to the estimates a decision reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from policies.acceptance import Estimate, estimate, estimate_copying, replays
from policies.cells import CellDelta, CellKey, CellReader, Origin, TemperatureBucket
from policies.evidence import RequestSteps, counters, is_sound, lifetime
from policies.priors import prior
from policies.resolve import EffectivePolicy
from policies.task_beliefs import FEW_REQUESTS, UNKNOWN_DRAFTER, Drafter, Settings, TaskBeliefs
from policies.task_reader import TaskReader

__all__ = ["Drafter", "Evidence", "Learner"]

FRESH_S: Final = 1.0
"""How old an estimate may be that does not concern a tenant's own last request, in seconds."""
IDLE_S: Final = 300.0
"""Tasks nobody asked about for so long are no longer refreshed."""
_MAX_RENEWALS: Final = 1_000
"""Estimates that wait for being made anew; where there are more, the rest is made when it is asked for."""
_MAX_TASKS: Final = 10_000
"""Profiles, tasks and different settings together."""


class Evidence(CellReader, Protocol):
    """The cells a learner reads and adds to: a router's view of its store, or `MemoryEvidence`."""

    def record(self, deltas: Mapping[CellKey, CellDelta], now_s: float) -> None:
        """Add what one request showed."""
        ...


class _Asked(NamedTuple):
    profile: str
    task: str
    settings: Settings


class Learner:
    """Records what requests showed, and answers what is believed. Pure: time comes as an argument.

    Estimates are made when they are asked for and then kept. A request of a tenant's own drops what is
    believed about that tenant and task. What others completed shows when the task is read anew: at once
    while it has few requests, else when it is asked about after `FRESH_S`; of its tenants' estimates those
    are then made anew that it moved (see `TaskBeliefs`). `refresh` does all that before it is asked for, if
    whoever has a clock calls it in the background, so that a request finds a dictionary read.

    An estimate is a function of the cells alone, so routers that read the same cells believe the same.
    """

    def __init__(self, evidence: Evidence, drafters: Mapping[str, Drafter]) -> None:
        self._evidence = evidence
        self._drafters = drafters
        self._reader = TaskReader(evidence, drafters)
        self._tasks: dict[_Asked, TaskBeliefs] = {}  # ordered: the one that was read last stands last
        self._settings: dict[tuple[str, str], dict[Settings, None]] = {}
        self._renewals: dict[tuple[_Asked, TemperatureBucket, str], None] = {}
        self._seen_generation = evidence.generation
        self.rejected = 0
        """Outcomes whose counts could not be true; they count nowhere."""

    def record(self, profile: str, origin: Origin, steps: RequestSteps, now_s: float) -> bool:
        """Count one completed request in its task's cell and its tenant's; False if it cannot be true.

        Its weight is that of its evidence. Lifetime totals count whole requests.
        """
        if steps.problem() is not None or not _is_possible(origin, now_s):
            self.rejected += 1
            return False
        delta = CellDelta(origin.half_life_s, _weighed(counters(steps), origin), lifetime(steps))
        self._add(origin.cell(profile), delta, now_s)
        return True

    def record_replay(
        self, profile: str, origin: Origin, counters: Mapping[str, float], now_s: float
    ) -> bool:
        """Count the replay of an answer by the drafter of `profile`; False if it cannot be true.

        `counters` are those of `policies.replay`. They go to cells of their own, see `CellKey.of_replays`.
        """
        possible = _is_possible(origin, now_s)
        if not possible or not is_sound(counters) or not replays(counters).at:
            self.rejected += 1
            return False
        delta = CellDelta(origin.half_life_s, _weighed(counters, origin), {"requests": 1})
        self._add(origin.cell(profile).of_replays(), delta, now_s)
        return True

    def estimate(
        self,
        *,
        profile: str,
        task: str,
        temperature: TemperatureBucket,
        tenant: str,
        policy: EffectivePolicy,
        now_s: float,
    ) -> Estimate:
        """What is believed about drafts of `profile` for such a request; the class says how old it may be."""
        settings = Settings(
            policy.acceptance.half_life,
            policy.acceptance.prior_strength,
            policy.prior_alpha,
            policy.k.default,
        )
        asked = _Asked(profile, task, settings)
        beliefs = self._tasks.get(asked)
        if beliefs is None or not abs(now_s - beliefs.read_s) < FRESH_S:
            beliefs = self._read(asked, now_s)
        beliefs.asked_s = now_s
        found = beliefs.estimate(temperature, tenant, now_s)
        if beliefs.due:
            for late in beliefs.due:
                self._renew_soon((asked, *late))
            beliefs.due.clear()
        return found

    def refresh(self, now_s: float, limit: int = 4) -> int:
        """Make anew what a request would otherwise wait for, the oldest first; how many tasks and tenants.

        These are tasks that will be due soon, tenants whose cells changed, here or in the store, and tenants
        whose estimate a request found a little old; at most `limit` tasks and four times as many tenants.
        Called about every 50 ms it takes nearly all of the work out of the requests. Tasks nobody asks about
        any more are dropped.
        """
        done = 0
        for asked, beliefs in list(self._tasks.items()):
            if done >= limit or abs(now_s - beliefs.read_s) < FRESH_S / 2:
                break
            if now_s - beliefs.asked_s > IDLE_S:
                self._forget(asked)
                continue
            self._read(asked, now_s)
            done += 1
        self._drop_changed()
        for _ in range(min(4 * limit, len(self._renewals))):
            asked, temperature, tenant = next(iter(self._renewals))
            del self._renewals[(asked, temperature, tenant)]
            if (beliefs_of := self._tasks.get(asked)) is not None:
                beliefs_of.renew(temperature, tenant, now_s)
                done += 1
        return done

    def believed(
        self, profile: str, task: str, counts: Mapping[str, float], policy: EffectivePolicy
    ) -> Estimate:
        """What one cell's counters say by themselves, on the task's prior; replayed ones likewise."""
        key = CellKey(profile, task, "low")
        drafter = self._drafters.get(key.served_profile, UNKNOWN_DRAFTER)
        assumed = prior(drafter.method, task, policy.prior_alpha)
        strength, reference_k = policy.acceptance.prior_strength, policy.k.default
        if key.is_of_replays:
            return estimate_copying(
                assumed,
                [replays(counts)],
                prior_strength=strength,
                reference_k=reference_k,
                max_k=drafter.max_k,
            )
        return estimate(
            assumed, [counts], prior_strength=strength, reference_k=reference_k, max_k=drafter.max_k
        )

    def _add(self, key: CellKey, delta: CellDelta, now_s: float) -> None:
        self._evidence.record({key._replace(tenant=None): delta, key: delta}, now_s)
        self._drop(key)

    def _read(self, asked: _Asked, now_s: float) -> TaskBeliefs:
        beliefs = self._reader.read(asked.profile, asked.task, asked.settings, now_s)
        previous = self._tasks.pop(asked, None)
        if previous is not None:
            beliefs.take_over(previous)
        elif len(self._tasks) >= _MAX_TASKS:
            self._forget(next(iter(self._tasks)))
        self._tasks[asked] = beliefs
        self._settings.setdefault((asked.profile, asked.task), {})[asked.settings] = None
        return beliefs

    def _drop(self, key: CellKey) -> None:
        profile, task = key.served_profile, key.task
        for settings in self._settings.get((profile, task), ()):
            asked = _Asked(profile, task, settings)
            beliefs = self._tasks[asked]
            was_kept = key.tenant is not None and beliefs.drop(key.temperature, key.tenant)
            if key.tenant is not None and was_kept:
                self._renew_soon((asked, key.temperature, key.tenant))
            if beliefs.requests < FEW_REQUESTS:
                beliefs.read_s = -math.inf

    def _renew_soon(self, one: tuple[_Asked, TemperatureBucket, str]) -> None:
        if len(self._renewals) < _MAX_RENEWALS:
            self._renewals[one] = None

    def _drop_changed(self) -> None:
        """Drop what others, by way of the store, changed the cells of."""
        generation = self._evidence.generation
        if generation != self._seen_generation:
            for key in self._evidence.changed_since(self._seen_generation):
                self._drop(key)
            self._seen_generation = generation

    def _forget(self, asked: _Asked) -> None:
        del self._tasks[asked]
        of_task = self._settings[(asked.profile, asked.task)]
        del of_task[asked.settings]
        if not of_task:
            del self._settings[(asked.profile, asked.task)]


def _is_possible(origin: Origin, now_s: float) -> bool:
    return 0.0 < origin.half_life_s < math.inf and 0.0 < origin.weight <= 1.0 and math.isfinite(now_s)


def _weighed(counts: Mapping[str, float], origin: Origin) -> Mapping[str, float]:
    if origin.weight == 1.0:
        return counts
    return {name: count * origin.weight for name, count in counts.items()}

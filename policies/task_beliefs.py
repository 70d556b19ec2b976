"""What is believed about one task on one profile: its levels read once, and the estimates made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from policies.acceptance import EMPTY_LEVEL, NO_REPLAYS, Estimate, Level, Prior, Replays, level, replays
from policies.acceptance.copying import MeansAtK, assumed_at, concluded_at, descended_at, learned_at
from policies.acceptance.levels import Means, assumed, concluded, descended, learned
from policies.cells import CellKey, CellReader, TemperatureBucket, decay_factor
from policies.evidence import MAX_POSITIONS

FEW_REQUESTS: Final = 50.0
"""A task with fewer is read anew after every request it completes."""

_MAX_ESTIMATES: Final = 10_000
"""Per profile, task and settings."""
_TOLERANCE: Final = 0.1
"""An estimate is kept while what it was shrunk toward moves by less than so many of its deviations."""
_KEPT_HALF_LIVES: Final = 0.25
_LONGEST_KEPT_S: Final = 150.0
"""An estimate is made anew after a quarter of a half-life, or this time: its evidence has lost 16 % by then,
and its deviation should have grown by 9 % at most."""
_SERVED_LATE: Final = 2.0
"""Up to so many times as old or as far off it still serves: a request need not wait for the one made anew."""


class Drafter(NamedTuple):
    """How a profile drafts (`none`, `ngram`, `suffix`, `draft_model`, …), and its largest k."""

    method: str
    max_k: int


UNKNOWN_DRAFTER: Final = Drafter("none", MAX_POSITIONS)


class Settings(NamedTuple):
    """What a policy says about estimates. `prior_alpha` None means the built-in prior."""

    half_life_s: float
    prior_strength: float
    prior_alpha: float | None
    reference_k: int


@dataclass(frozen=True, slots=True)
class Levels:
    """A task's cells over all tenants, decayed to `read_s`: all temperatures together, and each bucket."""

    read_s: float
    total: Level
    by_bucket: Mapping[TemperatureBucket, Level]
    replayed: Replays
    replayed_by_bucket: Mapping[TemperatureBucket, Replays]

    @property
    def for_shift(self) -> Level:
        """The evidence that says how far the task lies beside its prior."""
        return self.replayed.level if self.replayed.at else self.total


class _Given(NamedTuple):
    """What the other temperatures of a task say about one: means, and the estimate of who counted nothing."""

    means: Means
    at: MeansAtK | None
    estimate: Estimate
    length: float


class _Kept(NamedTuple):
    """A tenant's estimate, and what it depended on: see `TaskBeliefs.estimate`."""

    estimate: Estimate
    made_s: float
    given_length: float
    tolerance: float


class TaskBeliefs:
    """The estimates of one profile, task and settings, made when asked for, of levels that stand still.

    What does not depend on a tenant is worked out once for each temperature: a tenant's estimate begins where
    the other temperatures of its task have been counted, and goes on with the other tenants at its own. It
    is kept until the tenant's own cell changes, the task moves by a part of its deviation, or it grows old.
    What is only a little too old or too far off is still given, and stands in `due` for a `renew`.
    """

    def __init__(
        self,
        cells: CellReader,
        key: CellKey,
        *,
        levels: Levels,
        assumed: Prior,
        settings: Settings,
        max_k: int,
    ) -> None:
        self._cells = cells
        self._key = key
        self._levels = levels
        self._assumed = assumed
        self._settings = settings
        self._max_k = max_k
        self._given: dict[TemperatureBucket, _Given] = {}
        self._kept: dict[tuple[TemperatureBucket, str], _Kept] = {}
        self.due: dict[tuple[TemperatureBucket, str], None] = {}
        self._keep_s = min(_LONGEST_KEPT_S, settings.half_life_s * _KEPT_HALF_LIVES)
        self.read_s = levels.read_s
        self.asked_s = levels.read_s
        self.requests = levels.for_shift.requests

    def estimate(self, temperature: TemperatureBucket, tenant: str, now_s: float) -> Estimate:
        """What is believed for one tenant: a dictionary read, unless something changed that matters."""
        kept = self._kept.get((temperature, tenant))
        if kept is not None:
            age_s = abs(now_s - kept.made_s)
            moved = abs(self._above(temperature).length - kept.given_length)
            if age_s < self._keep_s and moved <= kept.tolerance:
                return kept.estimate
            if age_s < _SERVED_LATE * self._keep_s and moved <= _SERVED_LATE * kept.tolerance:
                self.due[(temperature, tenant)] = None
                return kept.estimate
        return self.renew(temperature, tenant, now_s)

    def renew(self, temperature: TemperatureBucket, tenant: str, now_s: float) -> Estimate:
        """The same, made anew from the evidence as it stands."""
        given = self._above(temperature)
        made = self._made(given, temperature, tenant, now_s)
        if len(self._kept) >= _MAX_ESTIMATES:
            self._kept.clear()
        tolerance = 0.0
        if self.requests >= FEW_REQUESTS:
            tolerance = _TOLERANCE * made.deviations[self._settings.reference_k]
        self._kept[(temperature, tenant)] = _Kept(made, now_s, given.length, tolerance)
        return made

    def drop(self, temperature: TemperatureBucket, tenant: str) -> bool:
        """Forget what is believed for one tenant; whether anything was."""
        return self._kept.pop((temperature, tenant), None) is not None

    def take_over(self, previous: TaskBeliefs) -> None:
        """Go on from an earlier reading: who asked last, what was believed, and for which temperatures."""
        self.asked_s = previous.asked_s
        self._kept = previous._kept
        for temperature in previous._given:
            self._above(temperature)

    def _made(self, given: _Given, temperature: TemperatureBucket, tenant: str, now_s: float) -> Estimate:
        key = CellKey(self._key.profile, self._key.task, temperature, tenant)
        record = self._cells.get(key if given.at is None else key.of_replays())
        if record is None:
            return given.estimate
        factor = decay_factor(now_s - record.updated_at_s, self._settings.half_life_s)
        strength = self._settings.prior_strength
        if given.at is not None:
            of_bucket = self._levels.replayed_by_bucket.get(temperature, NO_REPLAYS)
            replayed = replays(record.counters, factor, of_bucket if of_bucket.at else self._levels.replayed)
            others = learned_at(given.at, of_bucket, replayed)
            return concluded_at(
                descended_at(others, strength), replayed, task=self._levels.replayed, positions=given.estimate
            )
        counted_here = self._levels.by_bucket.get(temperature, EMPTY_LEVEL)
        own = level(record.counters, factor, counted_here.design.correlation)
        return self._concluded(descended(learned(given.means, counted_here, own), strength), own)

    def _above(self, temperature: TemperatureBucket) -> _Given:
        found = self._given.get(temperature)
        if found is None:
            found = self._given[temperature] = self._worked_out(temperature)
        return found

    def _worked_out(self, temperature: TemperatureBucket) -> _Given:
        levels, settings = self._levels, self._settings
        strength, copied = settings.prior_strength, levels.replayed
        by_bucket = levels.replayed_by_bucket.get(temperature, NO_REPLAYS)
        total = copied.level if copied.at else levels.total
        here = by_bucket.level if copied.at else levels.by_bucket.get(temperature, EMPTY_LEVEL)
        means = assumed(self._assumed, total, strength, settings.reference_k)
        means = descended(learned(means, total, here), strength)
        quiet = self._concluded(descended(learned(means, here), strength), EMPTY_LEVEL)
        if not copied.at:
            return _Given(means, None, quiet, quiet.lengths[settings.reference_k])
        at = assumed_at(self._assumed, strength, max(settings.reference_k, self._max_k))
        at = descended_at(learned_at(at, copied, by_bucket), strength)
        quiet_at = descended_at(learned_at(at, by_bucket), strength)
        quiet = concluded_at(quiet_at, NO_REPLAYS, task=copied, positions=quiet)
        return _Given(means, at, quiet, quiet.lengths[settings.reference_k])

    def _concluded(self, given: Means, own: Level) -> Estimate:
        return concluded(
            given,
            own,
            task=self._levels.for_shift,
            reference_k=self._settings.reference_k,
            max_k=self._max_k,
        )

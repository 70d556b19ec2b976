"""From outcomes to evidence, and from evidence to the estimates a decision reads."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from policies.acceptance import Estimate, estimate, pooled
from policies.cells import CellDelta, CellKey, TemperatureBucket
from policies.evidence import RequestSteps, counters, lifetime
from policies.priors import prior
from policies.resolve import EffectivePolicy
from replicas.frames import Ending
from router.stats import StatsBuffer

_log = logging.getLogger(__name__)

_FRESH_S = 5.0
_MAX_CACHED = 10_000
"""Per profile and task."""
_BUCKETS: tuple[TemperatureBucket, ...] = ("low", "mid", "high")


@dataclass(slots=True)
class _Cached:
    value: Estimate
    policy: EffectivePolicy
    computed_s: float


class Learning:
    """Records what requests showed, and answers what is believed.

    Estimates are cached until one of their cells changes, or for a few seconds: counters decay meanwhile.
    """

    def __init__(self, buffer: StatsBuffer, methods: Mapping[str, str]) -> None:
        self._buffer = buffer
        self._methods = methods
        self._cache: dict[tuple[str, str], dict[tuple[TemperatureBucket, str], _Cached]] = {}
        self._seen_generation = 0
        self.rejected = 0
        """Requests whose step counts could not be true; they count nowhere."""

    def record(
        self,
        *,
        profile: str,
        task: str,
        temperature: TemperatureBucket,
        tenant: str,
        k: int,
        ending: Ending,
        half_life_s: float,
        now_s: float,
    ) -> None:
        """Count one completed request in its task's cell and its tenant's. Never raises, never waits."""
        if not ending.counted:
            return
        steps = RequestSteps(k, ending.per_step_drafted, ending.per_step_accepted)
        try:
            delta = CellDelta(half_life_s, counters(steps), lifetime(steps))
        except ValueError as error:
            self.rejected += 1
            _log.warning("step counts of a request on %s ignored: %s", profile, error)
            return
        key = CellKey(profile, task, temperature)
        self._buffer.record({key: delta, key._replace(tenant=tenant): delta}, now_s)

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
        """What is believed about drafts of `profile` for such a request."""
        self._drop_changed()
        of_task = self._cache.setdefault((profile, task), {})
        cached = of_task.get((temperature, tenant))
        if cached is not None and cached.policy is policy and now_s - cached.computed_s < _FRESH_S:
            return cached.value
        value = self._computed(CellKey(profile, task, temperature, tenant), policy, now_s)
        if len(of_task) >= _MAX_CACHED:
            of_task.clear()
        of_task[(temperature, tenant)] = _Cached(value, policy, now_s)
        return value

    def believed(
        self, profile: str, task: str, counts: Mapping[str, float], policy: EffectivePolicy
    ) -> Estimate:
        """What one set of counters says by itself, on the task's prior."""
        return estimate(
            prior(self._methods.get(profile, "none"), task, policy.prior_alpha),
            [counts],
            prior_strength=policy.acceptance.prior_strength,
            reference_k=policy.k.default,
        )

    def _computed(self, key: CellKey, policy: EffectivePolicy, now_s: float) -> Estimate:
        half_life_s = policy.acceptance.half_life
        by_bucket = {
            bucket: self._counts(key._replace(temperature=bucket, tenant=None), half_life_s, now_s)
            for bucket in _BUCKETS
        }
        return estimate(
            prior(self._methods[key.profile], key.task, policy.prior_alpha),
            [
                pooled(list(by_bucket.values())),
                by_bucket[key.temperature],
                self._counts(key, half_life_s, now_s),
            ],
            prior_strength=policy.acceptance.prior_strength,
            reference_k=policy.k.default,
        )

    def _counts(self, key: CellKey, half_life_s: float, now_s: float) -> Mapping[str, float]:
        record = self._buffer.get(key)
        return {} if record is None else record.decayed_to(now_s, half_life_s)

    def _drop_changed(self) -> None:
        """Forget the estimates whose cells changed; a changed task concerns all its tenants."""
        generation = self._buffer.generation
        if generation == self._seen_generation:
            return
        for key in self._buffer.changed_since(self._seen_generation):
            self._cache.pop((key.profile, key.task), None)
        self._seen_generation = generation

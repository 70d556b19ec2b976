"""From which load on plain decoding alone would be faster, by measured step times and acceptance.

For b requests that an engine decodes at once, all on cap k, with N output tokens, S = (N - 1) / E[L_k] steps
of T(b, k) seconds, and F more for a pass that reads a prompt, a request stays

    R(b, k) = S T(b, k) + b F(b, k)

since while it stays b prompts are read, its own among them (Little's law); k = 0 has S = N - 1. Passes are
priced as decisions price them (`policies.decide.pricing`). The load from which on plain decoding is faster is
the first b beyond the last one where some k of some pool has the smaller R.

That compares equal batches, which is the same as equal request rates: where both take equally long at the
same rate, both have equally many requests there, R = b / rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Final, Literal, NamedTuple, Protocol

from policies.cost import StepLoad
from policies.decide import Work
from policies.decide.context import PassTimer

Status = Literal["from", "never", "always", "unknown"]

_LEAST_STEPS: Final = 50.0
"""Steps of drafts behind a task's acceptance, below which mostly the prior speaks."""
_MOST_READING: Final = 0.95
_LEAST_S: Final = 1e-9
"""A fit may put all of a pass down to what plain decoding does not do."""


class EnginePool(NamedTuple):
    """One pool: its passes, and how many requests one of its engines decodes at once."""

    profile: str
    step_time: PassTimer
    error: float
    """Relative standard deviation of its mean step times."""
    steps: float
    """Passes they stand on; infinite for a calibration file."""
    slots: int
    max_k: int = 0
    drafter_is_model: bool = False
    least_asked: int = 1
    """Tokens such a drafter works for in every pass at least; see `policies.decide.Pool`."""


class Known(Protocol):
    """What is believed of drafts, by k: as `policies.acceptance.Estimate` has it, and the decision log."""

    @property
    def evidence_steps(self) -> float:
        """Steps of the task that it rests on."""
        ...

    @property
    def lengths(self) -> Sequence[float]:
        """Tokens per step."""
        ...

    @property
    def deviations(self) -> Sequence[float]:
        """Their standard deviations."""
        ...

    @property
    def drafted(self) -> Sequence[float]:
        """Draft tokens per step."""
        ...

    @property
    def proposing(self) -> Sequence[float]:
        """The share of steps with any."""
        ...


class Drafts(NamedTuple):
    """What drafts of one task are worth on one pool, and how much of the traffic the task is."""

    task: str
    weight: float
    """In output tokens."""
    estimate: Known


class BreakEven(NamedTuple):
    """The load from which on plain decoding is faster, see `Status`."""

    status: Status
    batch: int | None = None
    """Requests at once per engine, for status `from`."""
    batch_interval: tuple[int | None, int | None] | None = None
    """Of that; None for a bound beyond the engine's slots."""
    requests_per_s: float | None = None
    """Per engine, at that batch."""
    profile: str | None = None
    """The pool that drafts, and its k, which are the best there (or at the largest batch)."""
    k: int | None = None


class Capacity(NamedTuple):
    """The break-even of the traffic as it is, and of each of its tasks alone."""

    whole: BreakEven
    tasks: Mapping[str, BreakEven]
    slots: int | None = None
    """The largest batch that was looked at."""
    evidence_steps: float = 0.0
    """Steps of drafts behind the acceptance."""


class _Arm(NamedTuple):
    """All requests on one k of one pool: tokens and drafts per step, and the share of steps that draft."""

    pool: EnginePool
    k: int
    length: float
    deviation: float
    """Relative standard deviation of `length` and of the step times."""
    drafted: float
    proposing: float


def capacity(
    pools: Sequence[EnginePool],
    drafts: Mapping[str, Sequence[Drafts]],
    work: Work,
    *,
    confidence: float = 0.95,
) -> Capacity:
    """The loads from which on plain decoding is faster than any k of any pool.

    `drafts` are the tasks' by profile, `work` is what a request of the traffic takes. Pools and tasks of
    which nothing was measured are left out.
    """
    measured = {pool.profile: pool for pool in pools if pool.steps >= _LEAST_STEPS}
    known = {
        profile: [one for one in found if one.estimate.evidence_steps >= _LEAST_STEPS and one.weight > 0]
        for profile, found in drafts.items()
        if profile in measured and measured[profile].max_k > 0
    }
    known = {profile: found for profile, found in known.items() if found}
    if not known or work.output_tokens <= 1:
        return Capacity(BreakEven("unknown"), {})
    slots = min(measured[profile].slots for profile in known)
    loads = _Loads(list(measured.values()), work, slots, NormalDist().inv_cdf(0.5 + confidence / 2.0))
    tasks = sorted({one.task for found in known.values() for one in found})
    return Capacity(
        loads.break_even(_arms(measured, known)),
        {
            task: loads.break_even(
                _arms(measured, {p: [one for one in found if one.task == task] for p, found in known.items()})
            )
            for task in tasks
        },
        slots,
        max(math.fsum(one.estimate.evidence_steps for one in found) for found in known.values()),
    )


def _arms(pools: Mapping[str, EnginePool], drafts: Mapping[str, Sequence[Drafts]]) -> list[_Arm]:
    return [
        _arm(pools[profile], k, found)
        for profile, found in drafts.items()
        if found
        for k in range(1, min([pools[profile].max_k, *(len(one.estimate.lengths) - 1 for one in found)]) + 1)
    ]


def _arm(pool: EnginePool, k: int, drafts: Sequence[Drafts]) -> _Arm:
    """A mix of tasks: steps add up by tokens, so lengths are averaged as time per token."""
    whole = math.fsum(one.weight for one in drafts)
    steps = [one.weight / whole / one.estimate.lengths[k] for one in drafts]
    per_token = math.fsum(steps)
    parts = [(part / per_token, one.estimate) for part, one in zip(steps, drafts, strict=True)]
    error = math.hypot(*(part * found.deviations[k] / found.lengths[k] for part, found in parts))
    return _Arm(
        pool,
        k,
        1.0 / per_token,
        math.hypot(error, pool.error),
        math.fsum(part * found.drafted[k] for part, found in parts),
        math.fsum(part * found.proposing[k] for part, found in parts),
    )


class _Loads:
    """Plain decoding at every load, to compare arms with."""

    def __init__(self, pools: Sequence[EnginePool], work: Work, slots: int, certain: float) -> None:
        self._tokens = work.output_tokens - 1.0
        self._work = work
        self._certain = certain
        self._slots = slots
        arms = [_Arm(pool, 0, 1.0, pool.error, 0.0, 0.0) for pool in pools]
        self._plain = [min((self._stay_s(arm, b), arm.deviation) for arm in arms) for b in self._batches]

    @property
    def _batches(self) -> range:
        return range(1, self._slots + 1)

    def break_even(self, arms: Sequence[_Arm]) -> BreakEven:
        """The first batch beyond the last where an arm is faster, and its interval by the errors of both."""
        if not arms:
            return BreakEven("unknown")
        gains: list[tuple[float, float, _Arm]] = []
        for batch, (plain_s, error) in zip(self._batches, self._plain, strict=True):
            stay_s, arm = min(((self._stay_s(arm, batch), arm) for arm in arms), key=lambda found: found[0])
            margin = math.exp(self._certain * math.hypot(arm.deviation, error))
            gains.append((plain_s / stay_s, margin, arm))
        low, last, high = (
            max((place for place, (gain, margin, _) in enumerate(gains) if gain > margin**sure), default=-1)
            for sure in (1, 0, -1)
        )
        arm = gains[max(last, 0)][2]
        bounds = [None if place + 1 == self._slots else place + 2 for place in (low, high)]
        interval = bounds[0], bounds[1]
        if last + 1 == self._slots:
            return BreakEven("never", None, interval, None, arm.pool.profile, arm.k)
        batch = last + 2
        return BreakEven(
            "from" if last >= 0 else "always",
            batch,
            interval,
            batch / self._plain[batch - 1][0],
            arm.pool.profile,
            arm.k,
        )

    def _stay_s(self, arm: _Arm, batch: int) -> float:
        """How long a request stays where `batch` are decoded at once."""
        work = self._work
        steps = self._tokens / arm.length
        load = StepLoad(
            requests=batch,
            verifying=1.0 - (1.0 - min(1.0, arm.proposing)) ** batch,
            drafted=batch * arm.drafted,
            asked=float(max(arm.pool.least_asked, arm.k)) if arm.pool.drafter_is_model else 0.0,
            context=batch * (work.prompt_tokens + work.output_tokens / 2),
            reading=min(_MOST_READING, batch / steps),
            chunk=work.prompt_tokens,
        )
        seconds = arm.pool.step_time.seconds
        alone = load._replace(reading=0.0, chunk=0.0)
        prompt_s = seconds(alone._replace(prefill=max(1.0, work.prompt_tokens))) - seconds(alone)
        return max(_LEAST_S, steps * seconds(load) + batch * prompt_s)

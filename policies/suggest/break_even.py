"""The acceptance at which speculation pays, from measured step times.

Speculation pays where E[L_k] * T_plain > T_spec(k): where a step with drafts makes more tokens than plain
steps do in the same time (Leviathan, Kalman, Matias 2023, with measured step times for their cost ratio). The
break-even alpha solves alpha + … + alpha^k = T_spec(k) / T_plain - 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from policies.cost import Calibrated, StepLoad
from policies.speedup import effective_acceptance, expected_drafted, geometric_length
from policies.suggest.evidence import Evidence

MIN_PASSES: Final = 50.0
"""Passes of a pool that its step time must come from."""

_CERTAIN: Final = 1.645
"""Standard deviations to either side of an interval of 90 %, which is that of alpha."""
_LEAST_ERROR: Final = 0.02
"""What a mean over any number of passes is off by tomorrow."""


class BreakEven(NamedTuple):
    """What drafts cost on a pool, and the acceptance that is worth it.

    Attributes:
        k: Draft tokens per step.
        plain_s: A plain step of the fastest pool.
        speculative_s: A step with drafts.
        alpha: The effective acceptance at which both are worth the same.
        half_width: Of the interval of 90 % around it, from the error of the step times.
    """

    k: int
    plain_s: float
    speculative_s: float
    alpha: float
    half_width: float

    def speedup(self, alpha: float) -> float:
        """Tokens per time with drafts over those without, at this effective acceptance."""
        return geometric_length(alpha, self.k) * self.plain_s / self.speculative_s


def break_even(
    row: Evidence,
    costs: Mapping[str, Calibrated],
    *,
    k: int,
    requests: float,
    context: float = 0.0,
    asked: Mapping[str, int] | None = None,
) -> BreakEven | None:
    """The break-even of a pool's drafts; None where either step time was not measured.

    Args:
        row: What is known of the drafts: their coverage decides what a step verifies.
        costs: Step times by profile.
        k: Draft tokens per step.
        requests: Requests that an engine decodes at once.
        context: Tokens of context of each of them.
        asked: By profile, tokens that its drafting model works for in every pass at least; 1 where it is not
            told. Where drafts are copied, none is worked for, and the step time has no such part.
    """
    measured = {profile: cost for profile, cost in costs.items() if cost.steps >= MIN_PASSES}
    own = measured.get(row.profile)
    if own is None or not row.coverage:
        return None
    plain_load = StepLoad(requests=requests, context=requests * context)
    # A drafting model works for one token at least, some for all, also where nobody uses its drafts: in the
    # pools that a plain step might be taken on, too.
    works = {profile: float(max(1, (asked or {}).get(profile, 1))) for profile in measured}
    least = works[row.profile] = float(max(1, row.least_asked))
    plain_s, plain = min(
        (cost.step_time.seconds(plain_load._replace(asked=works[profile])), cost)
        for profile, cost in measured.items()
    )
    drafts = StepLoad(
        requests=requests,
        verifying=1.0 - (1.0 - min(1.0, row.coverage[0])) ** requests,
        drafted=requests * expected_drafted(row.coverage, k),
        asked=max(least, k),
        context=requests * context,
    )
    speculative_s = own.step_time.seconds(drafts)
    ratio = speculative_s / plain_s
    error = _CERTAIN * math.hypot(_mean_error(plain), _mean_error(own))
    least, most = (effective_acceptance(ratio * (1.0 + sign * error), k) for sign in (-1, 1))
    return BreakEven(k, plain_s, speculative_s, effective_acceptance(ratio, k), (most - least) / 2)


def _mean_error(cost: Calibrated) -> float:
    return math.hypot(_LEAST_ERROR, cost.relative_error / math.sqrt(cost.steps))

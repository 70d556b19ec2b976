"""The groups of settings that stand under `spec`, with their defaults, and their partial forms for overrides.

A partial form has the same keys, all optional: None means inherited. It checks each value alone; rules
between values are checked where the layers have been merged (`policies.resolve`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, Strict

from policies.base import Count, DraftTokens, Fraction, KMode, Metric, ObjectiveClass, PolicyModel
from policies.problems import Violation
from policies.units import Duration, Share, format_share

PriorStrength = Annotated[float, Strict(), Field(gt=0)]
MinSteps = Annotated[int, Strict(), Field(ge=0)]
MinSpeedup = Annotated[float, Strict(), Field(ge=1)]
Confidence = Annotated[float, Strict(), Field(ge=0.5, lt=1)]
Weight = Annotated[float, Strict(), Field(gt=0, le=1000)]


class Acceptance(PolicyModel):
    """How evidence about acceptance ages and when it counts."""

    half_life: Duration = 600.0
    """Evidence of this age weighs half."""
    prior_strength: PriorStrength = 20.0
    """Weight of the parent's acceptance rate, in steps."""
    min_steps: MinSteps = 50
    """Steps below which a task counts as a cold start: explored more, and reported so."""


class Threshold(PolicyModel):
    """The band that switches speculation in mode threshold; between the two values the last choice stands."""

    metric: Metric = "alpha"
    """What is compared: the effective acceptance alpha, or the draft acceptance rate vLLM reports."""
    enable_above: Fraction = 0.60
    """Speculate from this value on."""
    disable_below: Fraction = 0.50
    """Stop speculating below this value."""

    def violations(self) -> Sequence[Violation]:
        """disable_below must not exceed enable_above."""
        if self.disable_below <= self.enable_above:
            return ()
        message = f"disable_below {self.disable_below:g} is above enable_above {self.enable_above:g}"
        return [_between("disable_below", "enable_above", message=message)]


class ThresholdOverride(PolicyModel):
    """Threshold keys that differ from what would be inherited."""

    metric: Metric | None = None
    enable_above: Fraction | None = None
    disable_below: Fraction | None = None


class Objective(PolicyModel):
    """What adaptive mode optimises."""

    min_speedup: MinSpeedup = 1.05
    """Leave vanilla only for at least this speedup: the time on vanilla divided by the time speculating."""
    confidence: Confidence = 0.90
    """Probability with which that speedup must hold; the closer to 1, the more evidence it takes."""
    class_: ObjectiveClass = Field(default="interactive", alias="class")
    """Interactive: answers soonest, ttft and tpot where it is close; batch: most tokens per second."""
    ttft: Duration = 2.0
    """Time to first token; decides where a gain is too unsure and only one route should meet it."""
    tpot: Duration = 0.2
    """Time per output token; decides where a gain is too unsure and only one route should meet it."""


class ObjectiveOverride(PolicyModel):
    """Objective keys that differ from what would be inherited."""

    min_speedup: MinSpeedup | None = None
    confidence: Confidence | None = None
    class_: ObjectiveClass | None = Field(default=None, alias="class")
    ttft: Duration | None = None
    tpot: Duration | None = None


class DraftLength(PolicyModel):
    """k, the most draft tokens per step: min <= default <= max; an inherited default moves into the span."""

    mode: KMode = "adaptive"
    """Adaptive: chosen per request; fixed: the default; engine: max, for engines that adapt it themselves."""
    min: DraftTokens = 1
    """Smallest k of a speculative request."""
    max: DraftTokens = 8
    """Largest k of a request."""
    default: DraftTokens = 4
    """k without evidence, and the reference k of alpha."""

    def violations(self) -> Sequence[Violation]:
        """The order is min, default, max. A default that nobody wrote here is not held against the others."""
        if self.min > self.max:
            return [_between("min", "max", message=f"min {self.min} is above max {self.max}")]
        if "default" not in self.model_fields_set:
            return ()
        if self.default < self.min:
            message = f"default {self.default} is below min {self.min}"
            return [_between("default", "min", message=message)]
        if self.default > self.max:
            message = f"default {self.default} is above max {self.max}"
            return [_between("default", "max", message=message)]
        return ()


class DraftLengthOverride(PolicyModel):
    """k keys that differ from what would be inherited."""

    mode: KMode | None = None
    min: DraftTokens | None = None
    max: DraftTokens | None = None
    default: DraftTokens | None = None


class Exploration(PolicyModel):
    """How much traffic may try the arm that is not thought best."""

    share: Share = 0.02
    """Share of requests that explore; 0 means never."""
    max_share: Share = 0.10
    """That share where there is little evidence, and its upper bound."""

    def violations(self) -> Sequence[Violation]:
        """The share must not exceed its own bound."""
        if self.share <= self.max_share:
            return ()
        message = f"share {format_share(self.share)} is above max_share {format_share(self.max_share)}"
        return [_between("share", "max_share", message=message)]


class ExplorationOverride(PolicyModel):
    """Exploration keys that differ from what would be inherited."""

    share: Share | None = None
    max_share: Share | None = None


class Limits(PolicyModel):
    """What one tenant may use."""

    deadline: Duration = 120.0
    """Longest time a request may take."""
    max_concurrency: Count = 64
    """Most requests of one tenant in flight, those that wait for a slot among them."""
    weight: Weight = 1.0
    """Share of the slots where more is asked for than there are: twice the weight, twice the slots."""


class LimitsOverride(PolicyModel):
    """Limits that differ from what would be inherited."""

    deadline: Duration | None = None
    max_concurrency: Count | None = None
    weight: Weight | None = None


class Holdout(PolicyModel):
    """The randomised vanilla share that proves the saving."""

    share: Share = 0.0
    """Share of requests that decode plainly whatever would be chosen."""


class Affinity(PolicyModel):
    """How long a conversation stays where its prefix cache is."""

    conversation: Duration = 300.0
    """A conversation stays on its replica for this long after its last request."""


def _between(*fields: str, message: str) -> Violation:
    return Violation(paths=tuple((field,) for field in fields), message=message)

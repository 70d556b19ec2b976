"""What may differ per task, segment, tenant and schedule: the partial settings of `policies.schema`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from policies.base import Fraction, LayeredMode, Name, PolicyModel, TaskName
from policies.groups import (
    DraftLengthOverride,
    ExplorationOverride,
    LimitsOverride,
    ObjectiveOverride,
    ThresholdOverride,
)
from policies.problems import Violation


class Override(PolicyModel):
    """What every more specific layer may change."""

    mode: LayeredMode | None = None
    """How routes are chosen; counts where the mode of spec is adaptive or threshold."""
    threshold: ThresholdOverride | None = None
    """Band that switches speculation."""
    objective: ObjectiveOverride | None = None
    """What adaptive mode optimises."""
    k: DraftLengthOverride | None = None
    """Draft tokens per step."""
    exploration: ExplorationOverride | None = None
    """Share of requests that explore."""


class TaskOverride(Override):
    """What differs for one task."""

    prior_alpha: Fraction | None = None
    """Acceptance assumed before there is evidence."""


class Bounds(PolicyModel):
    """The span within which a tenant may choose."""

    min: Fraction = 0.0
    """Lowest value."""
    max: Fraction = 1.0
    """Highest value."""

    def violations(self) -> Sequence[Violation]:
        """The span must not be empty."""
        if self.min <= self.max:
            return ()
        return [Violation((("min",), ("max",)), f"min {self.min:g} is above max {self.max:g}")]


class SelfService(PolicyModel):
    """What tenants may set for themselves; what is not named here they may not."""

    threshold: Bounds | None = None
    """Bounds of both values of the tenant's own band."""
    modes: tuple[LayeredMode, ...] = ()
    """Modes the tenant may choose from."""


class SegmentOverride(Override):
    """What differs for the tenants of one segment."""

    limits: LimitsOverride | None = None
    """What a tenant may use."""
    tasks: Mapping[TaskName, Override] = {}
    """What differs for one task."""
    self_service: SelfService | None = None
    """What tenants may set for themselves; that of a tenant replaces that of its segment."""


class TenantOverride(SegmentOverride):
    """What differs for one tenant."""

    segment: Name | None = None
    """The segment whose settings the tenant has where it has none of its own."""

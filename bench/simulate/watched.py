"""What a router decided on a task whose acceptance changes, beside what the oracle would have."""

from __future__ import annotations

from typing import Final, NamedTuple

ALIKE: Final = 1.02
"""Arms whose true costs differ by less are as good as one another."""


class Watched(NamedTuple):
    """A decision on the watched task, beside the oracle's in the same situation.

    `regret` is the taken arm's true cost over that of the oracle's arm, minus 1; None where no arm of that
    pool was scored. `alpha` is what was believed, `true_alpha` what was true. `finished` counts the task's
    requests that arrived since its acceptance last changed and were done: all that could be known.
    """

    at_s: float
    profile: str
    k: int
    explored: bool
    alpha: float | None
    true_alpha: float | None
    oracle_profile: str
    oracle_k: int
    regret: float | None
    finished: int = 0

    @property
    def agrees(self) -> bool:
        """Whether the oracle's arm was taken, or one as good."""
        same = (self.profile, self.k) == (self.oracle_profile, self.oracle_k)
        return same or (self.regret is not None and self.regret < ALIKE - 1.0)

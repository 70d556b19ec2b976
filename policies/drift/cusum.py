"""A two-sided cumulative sum: the oldest quick detector of a changed mean.

E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954). For standardized values z with mean 0 while
nothing changed,

    up   = max(0, up + z - allowance)        down = max(0, down - z - allowance)

and an alarm when either passes the threshold. A change of the mean by d deviations takes about
threshold / (d - allowance) values to be found; changes below the allowance are let pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Direction = Literal["fell", "rose"]


@dataclass(slots=True)
class Cusum:
    """The two sums, and since how many values each has been above zero: Page's estimate of the change.

    Values are clipped to +-`clip`, so that a single one, however odd, is never an alarm; `allowance` and
    `threshold` are in deviations.
    """

    allowance: float
    threshold: float
    clip: float
    up: float = 0.0
    down: float = 0.0
    up_run: int = 0
    down_run: int = 0

    def add(self, z: float) -> Direction | None:
        """Take in one standardized value; the direction of an alarm. What is not finite is ignored."""
        if not math.isfinite(z):
            return None
        z = max(-self.clip, min(self.clip, z))
        self.up = max(0.0, self.up + z - self.allowance)
        self.down = max(0.0, self.down - z - self.allowance)
        self.up_run = self.up_run + 1 if self.up else 0
        self.down_run = self.down_run + 1 if self.down else 0
        return self.leaning(self.threshold)

    def leaning(self, beyond: float) -> Direction | None:
        """The direction of the larger sum, if it is above `beyond`."""
        if max(self.up, self.down) <= beyond:
            return None
        return "rose" if self.up > self.down else "fell"

    def run(self, direction: Direction) -> int:
        """Since how many values the sum of a direction has been above zero."""
        return self.up_run if direction == "rose" else self.down_run

    def restart(self) -> None:
        """Back to no evidence of a change."""
        self.up = self.down = 0.0
        self.up_run = self.down_run = 0

"""What a task's requests used to accept, and how far one request is from it.

Position i gained a token with chance p_i = accepted_i / reached_i, and H_i = 1 + p_i+1 * H_i+1 tokens are
expected from there on. A request's residual is

    r = sum over positions i of H_i * (accepted_i - p_i * reached_i)

which for whole steps is accepted - steps * (E[L_k] - 1). In this form it is a sum of martingale differences
(Doob's decomposition), and a request that ends in the middle of a step, at its last allowed token or at a
stop, shifts it neither way. One step has the variance

    s^2 = sum over i of (product over j < i of p_j) * H_i^2 * p_i * (1 - p_i)

and a request of x steps, of which any two are correlated by rho,

    s^2 * x * (1 + (x - 1) * rho)

Kish's design effect ("Survey Sampling", 1965) for clusters of the request's own size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from policies.cells import TemperatureBucket
from policies.evidence import Position
from policies.speedup import acceptance_length, effective_acceptance

MEMORY_REQUESTS: Final = 400.0
"""Requests after which a reference has forgotten 1 - 1/e: slow against what is to be found, and still able to
follow what changes over thousands of requests."""

_SOLID_STEPS: Final = 20.0
"""A position reached less often has no chance of its own; requests are compared up to the one before it."""

_LEAST_VARIANCE: Final = 0.02
"""Tokens^2 per step: where everything was accepted, or nothing, one surprise is no deviation of hundreds."""

_PRIOR_CORRELATION: Final = 0.1
_PRIOR_REQUESTS: Final = 10.0


class Reading(NamedTuple):
    """What one request showed: its counted positions up to its k, position 1 first."""

    temperature: TemperatureBucket
    positions: tuple[Position, ...]

    @property
    def steps(self) -> float:
        """Steps that could gain a token."""
        return self.positions[0].reached


class Residual(NamedTuple):
    """How far a request was from its reference.

    `tokens` is r, `independent` the variance it would have if its steps were independent, `pairs` what rho
    multiplies: s^2 * x and s^2 * x * (x - 1).
    """

    tokens: float
    independent: float
    pairs: float


@dataclass(slots=True)
class Reference:
    """Reached and accepted counts by position of one temperature's requests, slowly forgotten."""

    requests: float = 0.0
    reached: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)

    def add(self, positions: Sequence[Position], requests: float = 1.0) -> None:
        """Take in a request."""
        keep = 1.0 - 1.0 / MEMORY_REQUESTS
        self.requests = self.requests * keep + requests
        self.reached = [value * keep for value in self.reached]
        self.accepted = [value * keep for value in self.accepted]
        missing = len(positions) - len(self.reached)
        self.reached += [0.0] * missing
        self.accepted += [0.0] * missing
        for i, position in enumerate(positions):
            self.reached[i] += position.reached
            self.accepted[i] += position.accepted

    def chances(self) -> list[float]:
        """p_i of the positions that were reached often enough, smoothed by half a hit and half a miss."""
        found = []
        for reached, accepted in zip(self.reached, self.accepted, strict=True):
            if reached < _SOLID_STEPS:
                break
            found.append((accepted + 0.5) / (reached + 1.0))
        return found

    def alpha(self, k: int) -> float | None:
        """The effective acceptance at k; None without evidence."""
        chances = self.chances()
        return effective_acceptance(acceptance_length(chances, (1.0,), k), k) if chances else None

    def residual(self, positions: Sequence[Position]) -> Residual | None:
        """A request's distance from this reference; None where nothing can be compared."""
        chances = self.chances()[: len(positions)]
        if not chances:
            return None
        reach, reaches = 1.0, []
        for chance in chances:
            reaches.append(reach)
            reach *= chance
        tokens = variance = 0.0
        ahead = 1.0
        for i in reversed(range(len(chances))):
            chance, position = chances[i], positions[i]
            tokens += ahead * (position.accepted - chance * position.reached)
            variance += reaches[i] * ahead * ahead * chance * (1.0 - chance)
            ahead = 1.0 + chance * ahead
        variance = max(variance, _LEAST_VARIANCE)
        steps = positions[0].reached
        return Residual(tokens, variance * steps, variance * steps * (steps - 1.0))


@dataclass(slots=True)
class Correlation:
    """rho, how alike the steps of a request are, by past residuals: E[r^2] = independent + rho * pairs."""

    requests: float = 0.0
    squares: float = 0.0
    independent: float = 0.0
    pairs: float = 0.0

    def add(self, residual: Residual, widest: float) -> None:
        """Take in a residual; beyond `widest` variances it says more about a change than about rho."""
        keep = 1.0 - 1.0 / MEMORY_REQUESTS
        limit = widest * self.variance(residual)
        self.requests = self.requests * keep + 1.0
        self.squares = self.squares * keep + min(residual.tokens**2, limit)
        self.independent = self.independent * keep + residual.independent
        self.pairs = self.pairs * keep + residual.pairs

    @property
    def rho(self) -> float:
        """Within [0, 1], pulled toward a prior guess while requests are few."""
        if self.pairs <= 0:
            return _PRIOR_CORRELATION
        found = (self.squares - self.independent) / self.pairs
        weight = self.requests / (self.requests + _PRIOR_REQUESTS)
        return max(0.0, min(1.0, weight * found + (1.0 - weight) * _PRIOR_CORRELATION))

    def variance(self, residual: Residual) -> float:
        """Expected square of the residual, tokens^2."""
        return residual.independent + self.rho * residual.pairs

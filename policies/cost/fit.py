"""Moments of steps into a step time: non-negative least squares toward a seed.

Minimised over theta >= 0 is

    sum_i w_i (x_i' theta - y_i)^2 + sum_j p_j (theta_j - seed_j)^2

by the active-set method of Lawson and Hanson (Solving Least Squares Problems, 1974, chapter 23) on the
normal equations, as Bro and De Jong do (Journal of Chemometrics 11, 1997). The weights hold 1 / (expected
seconds)^2, so errors are relative and a long prefill does not drown a thousand short steps.

The ridge decides only where the steps do not: p_j is a hundredth of a step against a seed that may be off by
its own size. So a coefficient the steps say nothing of stays at the seed. The seed is first scaled to the
plain step that was measured, so that a pool which never drafted keeps its profile's shape in its own
machine's time.

A calibration is more than a guess: it was measured on such hardware, so a coefficient is off by about a tenth
of its size (tau) beside the common scale. Where single steps scatter by sigma, that is worth
sigma^2 / tau^2 steps that err independently. Those of one moment err alike, as other load slows all of them
down, so at first that is ten times as many: the first answers of a service tell how fast the machine is, but
not yet what drafts cost beside plain steps. Steps of many moments err less alike, so the nine parts halve
every 500 steps; a file of other hardware is outgrown.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from policies.cost.moments import FEATURES, Matrix, StepMoments
from policies.cost.steps import StepTime

_RIDGE: Final = 0.01
_DEVIATION: Final = 0.1
"""Of a coefficient whose seed is 0: what it may well add to a pass, as a share of the pass."""
_ROUNDS: Final = 3 * FEATURES
_SLACK: Final = 1e-9

_SAME_HARDWARE: Final = 0.1
"""What a coefficient that was calibrated is off by, as a part of it."""

_ERR_ALIKE: Final = 10.0
"""Steps of one moment, which are off together."""
_MOMENTS_STEPS: Final = 500.0
"""Steps until half of the moments behind them are others."""

SEED_ERROR: Final = 0.5
"""What a seed is off by, in lack of anything better."""
_SEED_STEPS: Final = 2.0


class Fit(NamedTuple):
    """A fitted step time."""

    step_time: StepTime
    relative_error: float
    """Weighted root mean square of (measured - predicted) / predicted, over single steps."""
    steps: float
    """Steps behind it, the forgotten ones not counted."""


def fit(
    moments: StepMoments, seed: StepTime, *, seed_error: float = SEED_ERROR, calibrated: bool = False
) -> Fit:
    """The step time that explains the steps best, near `seed` where they say nothing.

    Args:
        moments: The steps, weighted by 1 / (expected seconds)^2.
        seed: A step time of the right shape; its scale does not matter once there are steps.
        seed_error: The seed's relative error, which counts like two steps'.
        calibrated: Whether the seed was measured on such hardware, single steps scattering by `seed_error`.
    """
    if moments.steps <= 0 or not moments.matrix[0, 0] > 0:
        return Fit(seed, seed_error, 0.0)
    gram, target = moments.matrix[:FEATURES, :FEATURES], moments.matrix[:FEATURES, FEATURES]
    prior = np.asarray(seed)
    held = _RIDGE
    if calibrated:
        alike = 1 + (_ERR_ALIKE - 1) * 0.5 ** (moments.steps / _MOMENTS_STEPS)
        held = max(_RIDGE, alike * (seed_error / _SAME_HARDWARE) ** 2)
    prior = prior * _common_scale(gram, target, prior)
    try:
        coefficients = _toward(gram, target, prior, moments.steps, held)
        # Long prompts may dominate the common scale; the plain step of the first solution is measured better.
        if (plain := prior[0] + prior[1]) > 0 and (measured := coefficients[0] + coefficients[1]) > 0:
            prior = prior * (measured / plain)
            coefficients = _toward(gram, target, prior, moments.steps, held)
    except np.linalg.LinAlgError:  # steps of sizes so different that nothing can be told apart
        coefficients = prior
    if not coefficients.any():  # whatever was measured, steps took time
        coefficients = prior
    squares = float(
        moments.matrix[FEATURES, FEATURES] - 2 * coefficients @ target + coefficients @ gram @ coefficients
    )
    error = math.sqrt((max(0.0, squares) + _SEED_STEPS * seed_error**2) / (moments.steps + _SEED_STEPS))
    return Fit(StepTime(*coefficients.tolist()), error, moments.steps)


def _common_scale(gram: Matrix, target: Matrix, prior: Matrix) -> float:
    """The one factor with which the seed explains the steps best."""
    power = float(prior @ gram @ prior)
    return float(prior @ target) / power if power > 0 else 1.0


def _toward(gram: Matrix, target: Matrix, prior: Matrix, steps: float, held: float) -> Matrix:
    seen = np.diag(gram) / steps
    variances = prior**2 + np.divide(_DEVIATION**2, seen, out=np.zeros(FEATURES), where=seen > 0)
    # Neither seeded nor seen: whatever holds it at 0.
    ridge = np.where(variances > 0, held / np.where(variances > 0, variances, 1.0), 1.0)
    scale = 1.0 / np.sqrt(np.diag(gram) + ridge)
    normal = (gram + np.diag(ridge)) * np.outer(scale, scale)
    found: Matrix = _non_negative(normal, (target + ridge * prior) * scale) * scale
    return found


def _non_negative(normal: Matrix, right: Matrix) -> Matrix:
    """The x >= 0 that minimises x' normal x - 2 right' x; `normal` is positive definite."""
    x = np.zeros(len(right))
    free = right > 0
    for _ in range(_ROUNDS):
        while free.any():
            solved = np.zeros(len(right))
            solved[free] = np.linalg.solve(normal[np.ix_(free, free)], right[free])
            falling = free & (solved <= 0)
            if not falling.any():
                x = solved
                break
            # As far toward the solution as no coefficient passes 0; those that reach it are bound there.
            share = np.min(x[falling] / np.maximum(x[falling] - solved[falling], 1e-300))
            x = np.maximum(x + share * (solved - x), 0.0)
            free = free & ~(falling & (x <= _SLACK))
        else:
            x = np.zeros(len(right))
        slope = np.where(free, 0.0, right - normal @ x)
        if slope.max() <= _SLACK:
            break
        free[int(slope.argmax())] = True
    return x

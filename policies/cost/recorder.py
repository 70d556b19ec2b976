"""Steps as they happen, into moments: weighing, forgetting, and refusal of nonsense.

**Weights.** Errors count relative to the step's expected duration, and a step that is far off counts with the
influence of one that is moderately off (Huber, Annals of Mathematical Statistics 35, 1964): with r =
(measured - predicted) / predicted and s the usual |r|,

    w = min(1, c s / |r|) / predicted^2

so a pass during which the machine was busy elsewhere bends nothing. s follows |r| within a hundred steps:
when the machine itself changes, all are far off, s grows, and the new steps count in full.

**Forgetting** goes by steps, not by time: a pool that rests is the same machine when it wakes. Steps are of
four kinds (drafts or none, prompt tokens or none); each fades the older ones of its own kind with
`half_life_steps`, and those of the other kinds eight times as slowly, so that a thousand plain steps do not
take away what a hundred verifying ones have taught. While most of the last hundred steps are off by more than
a tenth to the same side, the machine is another one, and old steps of all kinds fade 32 times as fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from policies.cost.fit import fit
from policies.cost.moments import FEATURES, PREFILL, VERIFYING, Matrix, StepMoments, usable
from policies.cost.steps import StepLoad, StepTime

HALF_LIFE_STEPS: Final = 2000.0

_START: Final = 32
"""Steps before the first fit. Without one nothing is known of weights."""
_FOLD: Final = 64
"""Steps between two fits."""
_START_ROUNDS: Final = 4
_MAX_PENDING: Final = 4096
_OTHER_KINDS: Final = 1 / 8
_HUBER: Final = 2.0
_USUAL_HALF_LIFE: Final = 64.0
_LEAST_USUAL: Final = 0.01
_KINDS: Final = 4
_FAR: Final = 0.1
_MOST: Final = 0.6
_CHANGED_FORGETS: Final = 32.0


class StepRecorder:
    """Keeps the moments of one engine's steps.

    `seed` gives the first fit its shape; see `policies.cost.fit`.
    """

    def __init__(self, seed: StepTime, *, half_life_steps: float = HALF_LIFE_STEPS) -> None:
        self._seed = seed
        self._decay = math.log(2) / half_life_steps
        self.refused = 0
        """Records that could not be true, and count nowhere."""
        self.recorded = 0
        """Passes so far, of any kind: while requests run, an engine whose count stands still does too."""
        self._apart: list[tuple[StepLoad, float]] | None = None
        self.clear()

    @contextmanager
    def apart(self) -> Iterator[list[tuple[StepLoad, float]]]:
        """Passes that are recorded meanwhile go into this list, and teach nothing."""
        recorded: list[tuple[StepLoad, float]] = []
        self._apart = recorded
        try:
            yield recorded
        finally:
            self._apart = None

    def clear(self) -> None:
        """Forget all steps, as after a warm-up."""
        self._pending: list[tuple[float, ...]] = []
        self._kinds = [StepMoments.empty() for _ in range(_KINDS)]
        self._step_time: StepTime | None = None
        self._usual = 1.0
        self._side = 0.0

    def record(self, load: StepLoad, seconds: float) -> None:
        """Note one pass over `load` that took `seconds`."""
        self.recorded += 1
        if self._apart is not None:
            self._apart.append((load, seconds))
            return
        self._pending.append((*load.features(), seconds))
        if len(self._pending) >= (_FOLD if self._step_time else _START):
            self._fold()

    @property
    def moments(self) -> StepMoments:
        """Of all steps so far, the older ones faded. Empty before there are enough for a first fit."""
        if self._pending and self._step_time:
            self._fold()
        total = StepMoments.empty()
        for kind in self._kinds:
            total = total.merged(kind)
        return total

    def _fold(self) -> None:
        rows = np.asarray(self._pending)
        good = usable(rows)
        self.refused += int(len(rows) - good.sum())
        rows = rows[good]
        self._pending = []
        if self._step_time is None:
            if len(rows) < _START:
                self._pending = [tuple(row) for row in rows.tolist()]
                return
            self._step_time = self._first_fit(rows)
        self._add(rows, self._step_time)
        self._step_time = fit(self.moments, self._seed).step_time

    def _first_fit(self, rows: Matrix) -> StepTime:
        """Fits and weighs in turns, from weights that need no fit: relative to what was measured."""
        seconds = rows[:, -1]
        weights = 1.0 / seconds**2
        ones = np.ones(len(rows))
        found = fit(StepMoments.of(rows, weights, ones), self._seed).step_time
        for _ in range(_START_ROUNDS):
            predicted, residuals = _residuals(rows, found)
            self._usual = max(_LEAST_USUAL, float(np.median(np.abs(residuals))))
            weights = _huber(residuals, self._usual) / predicted**2
            found = fit(StepMoments.of(rows, weights, ones), self._seed).step_time
        return found

    def _add(self, rows: Matrix, current: StepTime) -> None:
        if not len(rows):
            return
        predicted, residuals = _residuals(rows, current)
        fading = 0.5 ** (1 / _USUAL_HALF_LIFE)
        for residual in residuals.tolist():
            self._usual = fading * self._usual + (1 - fading) * min(1.0, abs(residual))
            side = (residual > _FAR) - (residual < -_FAR)
            self._side = fading * self._side + (1 - fading) * side
        self._usual = max(_LEAST_USUAL, self._usual)
        weights = _huber(residuals, self._usual) / predicted**2
        changed = abs(self._side) > _MOST
        decay = self._decay * (_CHANGED_FORGETS if changed else 1.0)
        others = 1.0 if changed else _OTHER_KINDS
        kinds = (rows[:, VERIFYING] > 0).astype(int) + 2 * (rows[:, PREFILL] > 0)
        for kind in range(_KINDS):
            own = kinds == kind
            later = np.cumsum((np.where(own, 1.0, others) * decay)[::-1])[::-1]
            kept = math.exp(-later[0])
            faded = np.exp(decay - later[own])
            self._kinds[kind] = (
                self._kinds[kind].scaled(kept).merged(StepMoments.of(rows[own], weights[own] * faded, faded))
            )


def _residuals(rows: Matrix, step_time: StepTime) -> tuple[Matrix, Matrix]:
    """Predicted seconds, and (measured - predicted) / predicted."""
    predicted = np.maximum(rows[:, :FEATURES] @ np.asarray(step_time), 1e-9)
    return predicted, rows[:, -1] / predicted - 1.0


def _huber(residuals: Matrix, usual: float) -> Matrix:
    weights: Matrix = np.minimum(1.0, _HUBER * usual / np.maximum(np.abs(residuals), 1e-12))
    return weights

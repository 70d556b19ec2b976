"""Fitting: vectors to a sparse matrix, logistic regression, sources left out, calibration."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from policies.tasks import TASKS
from router.tasks.request_text import request_text
from router.tasks.trained import TrainedClassifier, softmax
from router.tasks.vector import NAMESPACES, Vector, vector
from training.data import training_rows
from training.rows import Row
from training.settings import Settings

_TOLERANCE = 1e-3
_BARS = np.arange(0.0, 0.60, 0.01)
_SEED = 0


@dataclass(frozen=True, slots=True)
class Weights:
    """What a fit found. `hashed` and `dense` have a column per label of `policies.tasks.TASKS`."""

    hashed: NDArray[np.float32]
    dense: NDArray[np.float32]
    bias: NDArray[np.float32]

    def classifier(
        self, settings: Settings, *, temperature: float = 1.0, bar: float = 0.0
    ) -> TrainedClassifier:
        """The weights at work."""
        return TrainedClassifier(
            hashed=self.hashed,
            dense=self.dense,
            bias=self.bias,
            labels=TASKS,
            scales=tuple(settings.scales[name] for name in NAMESPACES),
            temperature=temperature,
            bar=bar,
        )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Scores of public rows by weights that saw neither them nor anything of their source."""

    rows: Sequence[Row]
    scores: NDArray[np.float32]


def vectors(rows: Sequence[Row]) -> list[Vector]:
    """The features of the rows."""
    return [vector(request_text(row.body)) for row in rows]


def matrix(found: Sequence[Vector], settings: Settings) -> Any:
    """A sparse row per vector: hashed columns, then structural ones."""
    size = 1 << settings.bits
    indices, values, ends = [], [], [0]
    for one in found:
        for name, hashes in zip(NAMESPACES, one.hashed, strict=True):
            if len(hashes):
                indices.append((hashes & np.uint32(size - 1)).astype(np.int32))
                values.append(
                    np.full(len(hashes), settings.scales[name] / np.sqrt(len(hashes)), dtype=np.float32)
                )
        ends.append(ends[-1] + sum(len(hashes) for hashes in one.hashed))
    hashed = sp.csr_matrix((np.concatenate(values), np.concatenate(indices), ends), shape=(len(found), size))
    hashed.sum_duplicates()
    dense = np.stack([one.dense for one in found]) * np.float32(settings.dense_scale)
    return sp.hstack([hashed, sp.csr_matrix(dense)]).tocsr()


def fit(rows: Sequence[Row], settings: Settings) -> Weights:
    """Weighted multinomial logistic regression on the rows."""
    model = LogisticRegression(
        C=settings.inverse_penalty, max_iter=settings.iterations, tol=_TOLERANCE, random_state=_SEED
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(
            matrix(vectors(rows), settings),
            np.array([TASKS.index(row.task) for row in rows]),
            sample_weight=np.array([row.weight for row in rows]),
        )
    size = 1 << settings.bits
    columns = np.zeros((model.coef_.shape[1], len(TASKS)), dtype=np.float32)
    bias = np.full(len(TASKS), -30.0, dtype=np.float32)  # of a label without rows
    columns[:, model.classes_] = model.coef_.T
    bias[model.classes_] = model.intercept_
    return Weights(columns[:size], columns[size:] * np.float32(settings.dense_scale), bias)


def leave_sources_out(public: Sequence[Row], settings: Settings) -> LeftOut:
    """Every public row scored by weights trained without its source."""
    scores = np.zeros((len(public), len(TASKS)), dtype=np.float32)
    folds = GroupKFold(settings.folds, shuffle=True, random_state=_SEED)
    for seen, left in folds.split(public, groups=[row.source for row in public]):
        rows = training_rows([public[i] for i in seen], settings.recipe)
        classifier = fit(rows, settings).classifier(settings)
        for i, found in zip(left, vectors([public[i] for i in left]), strict=True):
            scores[i] = classifier.scores(found)
    return LeftOut(public, scores)


def temperature(left: LeftOut, weights: NDArray[np.float64]) -> float:
    """The T that makes softmax(scores / T) most likely: above 1 where the scores claim too much."""
    truth = np.array([TASKS.index(row.task) for row in left.rows])

    def loss(log_t: float) -> float:
        chances = softmax(left.scores / np.float32(np.exp(log_t)))
        hit = chances[np.arange(len(truth)), truth]
        return float(np.average(-np.log(np.maximum(hit, 1e-9)), weights=weights))

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))


def bar(left: LeftOut, weights: NDArray[np.float64], at: float, settings: Settings) -> float:
    """The highest bar under which at most `least_right` of the answers are right.

    Decode time alone asks for no bar: `other` costs as much as a wrong guess. But a wrong guess is also
    recorded as evidence of the guessed task, and that is worth keeping clean of what is mostly noise.
    """
    chances = softmax(left.scores / np.float32(at))
    truth = np.array([TASKS.index(row.task) for row in left.rows])
    right, confidence = chances.argmax(axis=1) == truth, chances.max(axis=1)
    chosen = 0.0
    for level in _BARS:
        under = confidence < level
        if under.any() and np.average(right[under], weights=weights[under]) <= settings.least_right:
            chosen = float(level)
    return round(chosen, 2)

"""Hyper-parameters of the training, chosen by cross-validation on sources left out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.data import Recipe

_SCALES: Mapping[str, float] = {
    "ask words": 1.0,
    "ask characters": 1.0,
    "ask words beside material": 1.0,
    "edge words": 1.0,
    "command words": 1.0,
    "body words": 1.0,
    "system words": 1.0,
    "earlier words": 0.5,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How the classifier is fitted.

    Attributes:
        recipe: How rows are put together.
        bits: Hashes are kept modulo 2^bits.
        scales: Length of every namespace's part of a vector.
        dense_scale: Factor of the structural numbers.
        inverse_penalty: C of the logistic regression: larger trusts the rows more.
        iterations: Steps of L-BFGS at most.
        folds: Groups of sources left out in turn for calibration and figures.
        least_right: Below the bar, at most this share of the left-out answers is right.
    """

    recipe: Recipe = field(default_factory=Recipe)
    bits: int = 16
    scales: Mapping[str, float] = field(default_factory=lambda: dict(_SCALES))
    dense_scale: float = 0.5
    inverse_penalty: float = 6.0
    iterations: int = 80
    folds: int = 5
    least_right: float = 0.2

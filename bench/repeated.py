"""Runs the sides of a comparison in turn, several times, and sums up what they came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from bench.overhead.figures import interval
from bench.results import Say

Measurement = Mapping[str, float]


def repeated(
    sides: Mapping[str, Callable[[], Measurement]], repeats: int, say: Say
) -> dict[str, list[Measurement]]:
    """What every side measured, `repeats` times; in each of them the sides come in an order drawn anew."""
    rng = Random(1)
    found: dict[str, list[Measurement]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name in rng.sample(list(sides), len(sides)):
            found[name].append(sides[name]())
        say(f"repeat {repeat + 1} of {repeats}")
    return found


def rows(measured: Mapping[str, Sequence[Measurement]], *, base: str | None = None) -> list[dict[str, Any]]:
    """Per side and measure: the median over repeats and its 95 % interval, [value, low, high].

    With a `base` also the ratio to it, repeat by repeat, as `ratio_<measure>`; not where the base has zeros.
    """
    made = []
    for side, runs in measured.items():
        row: dict[str, Any] = {"side": side}
        for measure in runs[0]:
            own = _column(runs, measure)
            row[measure] = interval(own, _only)
            if base is not None and side != base:
                others = _column(measured[base], measure)
                if others.all():
                    row[f"ratio_{measure}"] = interval(own / others, _only)
        made.append(row)
    return made


def _column(runs: Sequence[Measurement], measure: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([run[measure] for run in runs], dtype=np.float64)


def _only(medians: np.ndarray[Any, Any]) -> Any:
    return medians[..., 0]

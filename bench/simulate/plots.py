"""Pictures: completion times by side, and how the router followed a task that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bench.simulate.experiment import ADAPTIVE, Comparison
from bench.simulate.report import completions
from bench.simulate.watched import Watched

_BAR = "#4878a8"
_OURS = "#c8553d"


def draw_plots(groups: Mapping[str, Sequence[Comparison]], folder: Path) -> list[Path]:
    """Write PNG files into `folder`; their paths.

    Raises:
        OSError: The folder cannot be written to.
    """
    written = []
    for name, group in groups.items():
        written.append(_saved(_by_side(name, group), folder / f"{name}-completion.png"))
        adaptive = group[0].sides.get(ADAPTIVE)
        if adaptive is not None and adaptive.watched:
            written.append(_saved(_over_time(group[0], adaptive.watched), folder / f"{name}-over-time.png"))
    return written


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=120)
    return path


def _by_side(name: str, group: Sequence[Comparison]) -> Figure:
    sides = list(group[0].sides)
    means = [completions(group, side) for side in sides]
    figure = Figure(figsize=(8, 0.4 * len(sides) + 1.5), layout="constrained")
    axes = figure.subplots()
    axes.barh(
        sides,
        [float(np.mean(values)) for values in means],
        xerr=[float(np.std(values)) for values in means],
        color=[_OURS if side == ADAPTIVE else _BAR for side in sides],
    )
    axes.invert_yaxis()
    axes.set_xlabel("mean completion time in s (bar: standard deviation over seeds)")
    axes.set_title(f"{name}: {group[0].scenario.about}", loc="left", fontsize=10)
    return figure


def _over_time(comparison: Comparison, points: Sequence[Watched]) -> Figure:
    scenario = comparison.scenario
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    times = [point.at_s for point in points]
    above.plot(times, [point.true_alpha for point in points], color="black", label="true")
    above.plot(times, [point.alpha for point in points], color=_OURS, label="estimated", linewidth=1)
    above.set_ylabel("effective acceptance")
    above.set_ylim(0, 1)
    above.legend(loc="lower right")
    above.set_title(f"{scenario.name}: {scenario.watched}, seed {comparison.seed}", loc="left", fontsize=10)
    decided = [point for point in points if not point.explored]
    explored = [point for point in points if point.explored]
    below.plot([p.at_s for p in decided], [p.oracle_k for p in decided], color="black", label="oracle's k")
    below.scatter([p.at_s for p in decided], [p.k for p in decided], s=6, color=_OURS, label="k taken")
    below.scatter([p.at_s for p in explored], [p.k for p in explored], s=9, color=_BAR, label="explored")
    below.set_ylabel("k (0: vanilla)")
    below.set_xlabel("s")
    below.legend(loc="upper right")
    return figure

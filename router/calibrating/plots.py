"""The report's pictures, as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Picture

from policies.calibrating import DomainResult, Figure, Point
from policies.calibrating.domains import GRAY, POOR
from router.calibrating.document import Results
from router.calibrating.sections import shown_points

_OURS = "#c8553d"
_PLAIN = "#4878a8"
_WIDTH = 8.0
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "specroute",
    "text.parse_math": False,
    "font.size": 9,
}


def plots(results: Results) -> dict[str, str]:
    """The pictures by name; those of which nothing is known are left out."""
    found = {}
    with mpl.rc_context(_SETTINGS):
        alphas = [(_name(one), one.alpha) for one in results.domains if one.alpha is not None]
        if alphas:
            found["alpha"] = _alphas(alphas)
            found["positions"] = _positions([one for one in results.domains if one.acceptance])
        speedups = [(_name(one), one.speedup) for one in results.domains if one.speedup is not None]
        if speedups:
            found["speedup"] = _speedups(speedups)
        for profile in dict.fromkeys(point.profile for point in results.points):
            found[f"break-even-{profile}"] = _break_even(shown_points(results, profile))
    return found


def _name(one: DomainResult) -> str:
    return f"{one.domain} ({one.profile})"


def _alphas(rows: Sequence[tuple[str, Figure]]) -> str:
    picture, axes = _intervals(rows, _OURS)
    axes.axvspan(POOR, GRAY, color="#bbbbbb", alpha=0.4, linewidth=0)
    axes.set_xlim(0, 1)
    axes.set_xlabel("effective acceptance, with its 90 % interval; the gray zone is shaded")
    return _svg(picture)


def _speedups(rows: Sequence[tuple[str, Figure]]) -> str:
    picture, axes = _intervals(rows, _PLAIN)
    axes.axvline(1.0, color="black", linewidth=0.8, linestyle="--")
    axes.set_xlabel("speedup of decoding over plain decoding at the best k, with its 90 % interval")
    return _svg(picture)


def _intervals(rows: Sequence[tuple[str, Figure]], colour: str) -> tuple[Picture, Any]:
    picture = Picture(figsize=(_WIDTH, 0.3 * len(rows) + 1.0), layout="constrained")
    axes = picture.subplots()
    for place, (_, figure) in enumerate(rows):
        axes.plot([figure.low, figure.high], [place, place], color=colour, linewidth=2)
        axes.plot([figure.value], [place], "o", color=colour, markersize=4)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    return picture, axes


def _positions(domains: Sequence[DomainResult]) -> str:
    picture = Picture(figsize=(_WIDTH, 3.6), layout="constrained")
    axes = picture.subplots()
    for one in domains:
        places = range(1, len(one.acceptance) + 1)
        axes.plot(places, [figure.value for figure in one.acceptance], "o-", markersize=3, label=_name(one))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("position of the draft token")
    axes.set_ylabel("conditional acceptance")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(picture)


def _break_even(at: Sequence[Point]) -> str:
    picture = Picture(figsize=(_WIDTH, 3.6), layout="constrained")
    axes = picture.subplots()
    for k in sorted({point.k for point in at}):
        line = sorted(
            (point.batch, 1.0 if point.alpha is None else point.alpha) for point in at if point.k == k
        )
        axes.plot(
            [batch for batch, _ in line], [alpha for _, alpha in line], "o-", markersize=3, label=f"k = {k}"
        )
    axes.set_xscale("log", base=2)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("requests that an engine decodes at once")
    axes.set_ylabel("break-even acceptance (1: never)")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(picture)


def _svg(picture: Picture) -> str:
    text = io.StringIO()
    picture.savefig(text, format="svg", metadata={"Date": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]

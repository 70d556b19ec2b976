"""Pictures of results, as SVG that is the same for the same figures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.endtoend.figures import EVERYWHERE
from bench.endtoend.sides import VANILLA
from bench.methods.figures import ALL
from bench.methods.tables import FEWEST
from bench.results import Document

_OURS: Final = "#c8553d"
_OTHERS: Final = "#4878a8"
_WIDTH: Final = 8.0
_SETTINGS: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "specroute",
    "text.parse_math": False,
    "font.size": 9,
}


def picture(document: Document) -> str | None:
    """The picture of a document as SVG; None where there is none of its kind, or nothing to be seen."""
    with mpl.rc_context(_SETTINGS):
        match document["bench"]:
            case "end-to-end":
                return _end_to_end(document)
            case "overhead":
                return _overhead(document)
            case "scaling":
                return _scaling(document)
            case "startup":
                return _startup(document)
            case "methods":
                return _methods(document)
            case _:
                return None


Bar = tuple[str, Sequence[float], bool]
"""A name, [value, low, high], and whether it is ours."""


def _end_to_end(document: Document) -> str | None:
    """Per load and sampling: every side's time per token as a ratio to plain decoding."""
    groups: dict[str, list[Bar]] = {}
    for row in document["ratios"]:
        if row["to"] == VANILLA:
            place = (row["load"], row["sampling"])
            bars = groups.setdefault("all loads" if place == EVERYWHERE else ", ".join(place), [])
            bars.append((row["side"], row["ratio"], row["side"].startswith("adaptive")))
    return _intervals(groups, "time per token, as a ratio to two plain engines", at=1.0) if groups else None


def _overhead(document: Document) -> str | None:
    groups: dict[str, list[Bar]] = {}
    for row in document["cells"]:
        if "added_total_ms" in row:
            bars = groups.setdefault(f"{row['chunks']} chunks, {row['clients']} clients", [])
            bars.append((row["side"], row["added_total_ms"], row["side"] == "specroute"))
    return _intervals(groups, "added to a stream, ms", at=0.0) if groups else None


def _scaling(document: Document) -> str | None:
    groups: dict[str, list[Bar]] = {
        "decision, median µs": [
            (f"{r['side']} tenants", r["decision_p50_us"], True) for r in document["tenants"]
        ],
        "CPU per request, ms": [
            (f"{r['side']} routers", r["cpu_ms_per_request"], True) for r in document["routers"]
        ],
    }
    return _intervals(groups, "median and 95 % interval", at=0.0, shared=False)


def _startup(document: Document) -> str | None:
    bars: list[Bar] = [(row["side"], row["ready_s"], "," not in row["side"]) for row in document["starts"]]
    return _intervals({"time to ready": bars}, "s", at=0.0)


def _methods(document: Document) -> str | None:
    """Per method and k: every family's time per token as a ratio to plain decoding."""
    groups: dict[str, list[Bar]] = {}
    for row in document["rows"]:
        if row["k"] and row["prompts"] >= FEWEST and row["tpot_ratio"] is not None:
            bars = groups.setdefault(row["arm"], [])
            bars.append((row["family"], row["tpot_ratio"], row["family"] == ALL))
    return _intervals(groups, "time per token, as a ratio to plain decoding", at=1.0) if groups else None


def _intervals(groups: Mapping[str, Sequence[Bar]], label: str, *, at: float, shared: bool = True) -> str:
    """One panel for each group, a line for each bar."""
    heights = [len(bars) + 1.2 for bars in groups.values()]
    figure = Figure(figsize=(_WIDTH, 0.22 * sum(heights) + 0.6), layout="constrained")
    panels = figure.subplots(
        len(groups), 1, squeeze=False, sharex=shared, gridspec_kw={"height_ratios": heights}
    )
    for (name, bars), axes in zip(groups.items(), panels[:, 0], strict=True):
        for place, (_, (value, low, high), ours) in enumerate(bars):
            colour = _OURS if ours else _OTHERS
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
            axes.plot([value], [place], "o", color=colour, markersize=4)
        axes.axvline(at, color="black", linewidth=0.8, linestyle="--")
        axes.set_yticks(range(len(bars)), [bar[0] for bar in bars])
        axes.invert_yaxis()
        axes.set_title(name, loc="left", fontsize=9)
    panels[-1, 0].set_xlabel(label)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]

"""The report as one page of HTML: no outside assets, no scripts, light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final, NamedTuple

from jinja2 import Environment, StrictUndefined

from router.reporting.markdown import COLUMNS
from router.reporting.words import VERDICTS, facts, ratio_of, row_of, span

_LEFT: Final = 150.0
_WIDTH: Final = 560.0
_RIGHT: Final = 70.0
_LINE: Final = 26.0
_TOP: Final = 30.0
_TICKS: Final = 6
_STEPS: Final = (0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0)


class Mark(NamedTuple):
    """One line of the plot: where its interval and its estimate are, in the plot's units."""

    name: str
    y: float
    low: float
    high: float
    at: float
    label: str
    tone: str


class Plot(NamedTuple):
    """Intervals of time over plain time, one below the other; `ticks` are places and their ratios."""

    width: float
    height: float
    left: float
    right: float
    marks: Sequence[Mark]
    ticks: Sequence[tuple[float, str]]
    plain: float
    """Where plain decoding is: ratio 1."""


def page(report: Mapping[str, Any]) -> str:
    """The page."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = (resources.files("router.reporting") / "page.html.j2").read_text("utf-8")
    overall = report["overall"]
    lists = [("Tasks", "task"), ("Tenants", "tenant")]
    return environment.from_string(source).render(
        report=report,
        span=span(report),
        verdict=VERDICTS.get(overall["verdict"], overall["verdict"]),
        facts=facts(report),
        columns=COLUMNS,
        sections=[
            {
                "title": title,
                "name": name,
                "rows": [row_of(claim[name], claim) for claim in report[f"{name}s"]],
                "plot": plot([(claim[name], claim) for claim in report[f"{name}s"]]),
            }
            for title, name in lists
            if report[f"{name}s"]
        ],
    )


def plot(claims: Sequence[tuple[str, Mapping[str, Any]]]) -> Plot | None:
    """The intervals of those claims that have one; None where none has."""
    known = []
    for name, claim in claims:
        ratio, interval = ratio_of(claim)
        if ratio is not None and interval is not None:
            known.append((name, claim["verdict"], ratio, interval))
    if not known:
        return None
    lowest = min(1.0, *(low for _, _, _, (low, _) in known))
    highest = max(1.0, *(high for _, _, _, (_, high) in known))
    step = next((step for step in _STEPS if (highest - lowest) / step <= _TICKS), _STEPS[-1])
    first, last = step * (lowest // step), step * -(-highest // step)

    def x(ratio: float) -> float:
        return round(_LEFT + _WIDTH * (ratio - first) / (last - first or 1.0), 1)

    marks = [
        Mark(
            name,
            _TOP + _LINE * (place + 0.5),
            x(interval[0]),
            x(interval[1]),
            x(ratio),
            f"{ratio:.2f}",
            verdict,
        )
        for place, (name, verdict, ratio, interval) in enumerate(known)
    ]
    count = round((last - first) / step)
    ticks = [(x(first + step * place), f"{first + step * place:.3g}") for place in range(count + 1)]
    height = _TOP + _LINE * len(marks) + 10
    return Plot(_LEFT + _WIDTH + _RIGHT, height, _LEFT, _LEFT + _WIDTH, marks, ticks, x(1.0))

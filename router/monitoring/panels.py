"""Panels of a Grafana dashboard, as its JSON has them, and their places on its 24 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

_COLUMNS: Final = 24
_GREEN, _RED, _TEXT = "green", "red", "text"


class Query(NamedTuple):
    """A figure and what it is called."""

    promql: str
    legend: str


class Panel(NamedTuple):
    """One panel: its JSON without id and place, and its size in Grafana's units."""

    body: dict[str, Any]
    queries: tuple[Query, ...] = ()
    width: int = _COLUMNS // 2
    height: int = 8


def row(title: str) -> Panel:
    """A heading over the panels that follow."""
    return Panel({"type": "row", "title": title, "collapsed": False, "panels": []}, (), _COLUMNS, 1)


def stat(
    title: str, promql: str, unit: str, *, good_from: float | None = None, bad_from: float | None = None
) -> Panel:
    """One number: green from `good_from` on and red below, or red from `bad_from` on and green below."""
    steps: list[dict[str, Any]] = [{"color": _TEXT, "value": None}]
    if good_from is not None:
        steps = [{"color": _RED, "value": None}, {"color": _GREEN, "value": good_from}]
    if bad_from is not None:
        steps = [{"color": _GREEN, "value": None}, {"color": _RED, "value": bad_from}]
    body = {
        "type": "stat",
        "title": title,
        "fieldConfig": _fields(unit, {"thresholds": {"mode": "absolute", "steps": steps}}),
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    }
    return Panel(body, (Query(promql, title),), _COLUMNS // 4, 4)


def lines(
    title: str,
    promql: str,
    legend: str,
    unit: str,
    *,
    more: Sequence[Query] = (),
    stacked: bool = False,
    wide: bool = False,
) -> Panel:
    """Figures over time."""
    drawn = {"fillOpacity": 20, "stacking": {"mode": "normal"}} if stacked else {"fillOpacity": 0}
    body = {
        "type": "timeseries",
        "title": title,
        "fieldConfig": _fields(unit, {"custom": {"lineWidth": 1, "showPoints": "never", **drawn}}),
        "options": {
            "legend": {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }
    return Panel(body, (Query(promql, legend), *more), _COLUMNS if wide else _COLUMNS // 2)


def heat(title: str, promql: str) -> Panel:
    """The buckets of a histogram over time."""
    body = {
        "type": "heatmap",
        "title": title,
        "fieldConfig": _fields("short", {}),
        "options": {"calculate": False, "yAxis": {"unit": "short"}, "cellGap": 1},
    }
    return Panel(body, (Query(promql, "{{le}}"),))


def table(title: str, queries: Sequence[Query]) -> Panel:
    """A line for every task, a column for every query: its value now."""
    names = {f"Value #{_letter(number)}": query.legend for number, query in enumerate(queries)}
    body = {
        "type": "table",
        "title": title,
        "fieldConfig": _fields("short", {"decimals": 2}),
        "options": {"sortBy": [{"displayName": queries[0].legend, "desc": True}]},
        "transformations": [
            {"id": "joinByField", "options": {"byField": "task", "mode": "outer"}},
            {"id": "organize", "options": {"renameByName": names, "excludeByName": _times(len(queries))}},
        ],
    }
    return Panel(body, tuple(queries), _COLUMNS, 9)


def grid(panels: Iterable[Panel], source: dict[str, str]) -> list[dict[str, Any]]:
    """The panels with ids and places, left to right and downwards; queries ask `source`."""
    placed = []
    x = y = below = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > _COLUMNS or panel.width == _COLUMNS:
            x, y = 0, below
        body = {**panel.body, "id": number}
        body["gridPos"] = {"x": x, "y": y, "w": panel.width, "h": panel.height}
        if panel.queries:
            body |= {"datasource": source, "targets": _targets(panel, source)}
        placed.append(body)
        x, below = x + panel.width, max(below, y + panel.height)
    return placed


def _targets(panel: Panel, source: dict[str, str]) -> list[dict[str, Any]]:
    kind = panel.body["type"]
    as_table = {"instant": True, "format": "table"} if kind == "table" else {}
    as_heat = {"format": "heatmap"} if kind == "heatmap" else {}
    return [
        {
            "refId": _letter(number),
            "expr": query.promql,
            "legendFormat": query.legend,
            "datasource": source,
            **as_table,
            **as_heat,
        }
        for number, query in enumerate(panel.queries)
    ]


def _fields(unit: str, more: dict[str, Any]) -> dict[str, Any]:
    # Grafana has no unit for a multiple.
    return {"defaults": {"unit": "suffix: x" if unit == "x" else unit, **more}, "overrides": []}


def _letter(number: int) -> str:
    return chr(ord("A") + number)


def _times(queries: int) -> dict[str, bool]:
    return {"Time": True, **{f"Time {number}": True for number in range(1, queries + 1)}}

"""Figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any, Final

from bench.methods.arms import PLAIN
from bench.methods.figures import ALL

FEWEST: Final = 4
"""Prompts; a family of fewer has no line of its own."""


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Two tables: all families together at every k, and each family at the best k of every method.

    Families of fewer than `FEWEST` prompts are part of the first one only.
    """
    by_family = [
        min(own, key=lambda row: row["tpot_ratio"] or (inf,))
        for own in _grouped(row for row in rows if row["k"] and row["profile"] != PLAIN)
        if own[0]["family"] != ALL and own[0]["prompts"] >= FEWEST
    ]
    told = f"All prompts together:\n\n{_table([row for row in rows if row['family'] == ALL])}\n"
    if not by_family:
        return told
    arms = {(row["profile"], row["k"]) for row in rows if row["k"]}
    several = len(arms) > len({profile for profile, _ in arms})
    how = (
        ", each method at the k that was fastest there (which flatters it where prompts are few)"
        if several
        else ""
    )
    by_family.sort(key=lambda row: (" " in row["family"], row["family"]))
    return f"{told}\nBy family{how}:\n\n{_table(by_family)}\n"


def _grouped(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["family"], row["profile"]), []).append(row)
    return list(groups.values())


_HEAD = (
    "| prompts of | method | k | prompts | alpha by position | coverage | first accepted | tokens per step "
    "| TPOT ratio | identical |\n|---|---|---:|---:|---|---:|---:|---:|---|---:|"
)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join([_HEAD, *map(_line, rows)])


def _line(row: Mapping[str, Any]) -> str:
    alphas = " ".join(_number(alpha) for alpha in row["alpha_by_position"]) or "-"
    same = f"{row['identical']}"
    if row["rounding"] or row["different"]:
        same += f", {row['rounding']} within rounding, {row['different']} different"
    cells = (
        row["family"],
        row["profile"],
        row["k"],
        row["prompts"],
        alphas,
        _number(row["coverage"]),
        _number(_first(row)),
        _number(row["acceptance_length"]),
        interval(row["tpot_ratio"]),
        same,
    )
    return f"| {' | '.join(map(str, cells))} |"


def _first(row: Mapping[str, Any]) -> float | None:
    """Steps in which the first draft token was accepted, as a share of all: coverage times alpha."""
    alphas, coverage = row["alpha_by_position"], row["coverage_by_position"]
    if not coverage or coverage[0] is None:
        return None
    return float(coverage[0] * alphas[0]) if alphas[0] is not None else 0.0


def interval(figure: Sequence[float] | None) -> str:
    """A ratio with its interval."""
    return "-" if figure is None else f"{figure[0]:.2f} ({figure[1]:.2f} to {figure[2]:.2f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

"""What the comparisons show: a table, and the claims with their verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.table import Table

from bench.simulate.experiment import ADAPTIVE, BATCH_TABLE, ORACLE, Comparison, static_sides
from bench.simulate.intervals import Interval, paired_ratio
from bench.simulate.reaction import Reaction, reactions
from bench.simulate.scenario import Scenario
from policies.groups import Exploration

ORACLE_MARGIN: Final = 1.05
STATIC_MARGIN: Final = 1.02
FALL_REQUESTS: Final = 60
RISE_REQUESTS: Final = 200
MAX_SHARE: Final = Exploration().max_share


class Claim(NamedTuple):
    """Something that should hold in a scenario, whether it does, and the figure that says so."""

    scenario: str
    claim: str
    holds: bool
    figure: str


def grouped(comparisons: Iterable[Comparison]) -> Mapping[str, list[Comparison]]:
    """The comparisons by scenario, seed by seed."""
    groups: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault(comparison.scenario.name, []).append(comparison)
    return groups


def best_static(group: Sequence[Comparison]) -> str | None:
    """The static side with the least mean completion time over the seeds; None where none was played."""
    played = [side for side in static_sides(group[0].scenario) if side in group[0].sides]
    return min(played, key=lambda side: sum(completions(group, side)), default=None)


def completions(group: Sequence[Comparison], side: str) -> list[float]:
    """Mean completion times of a side, by seed."""
    return [comparison.sides[side].measures.mean_completion_s for comparison in group]


def ratio(group: Sequence[Comparison], side: str, other: str | None) -> Interval | None:
    """Mean completion time of one side over another's; None where one was not played."""
    if other is None or not {side, other} <= group[0].sides.keys():
        return None
    return paired_ratio(completions(group, side), completions(group, other))


def table(group: Sequence[Comparison]) -> Table:
    """One scenario: a line for each side."""
    best = best_static(group)
    scenario = group[0].scenario
    view = Table(
        "side",
        *("mean s", "p95 s", "TTFT s", "TPOT ms", "goodput/s", "tokens/s", "speculative", "k", "explored"),
        *("vs oracle", f"vs {best or 'best static'}"),
        title=f"{scenario.name}: {scenario.about} ({len(group)} seeds)",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for side in group[0].sides:
        ratios = (ratio(group, side, other) for other in (ORACLE, best))
        view.add_row(side, *_cells(group, side), *(str(found or "") for found in ratios))
    return view


def claims(group: Sequence[Comparison]) -> list[Claim]:
    """The claims of one scenario, judged by their means over the seeds."""
    scenario = group[0].scenario
    found = []
    if (against := ratio(group, ADAPTIVE, ORACLE)) is not None:
        found.append(_claim(scenario, "within 5 % of the oracle", against, ORACLE_MARGIN))
    best = best_static(group)
    if (against := ratio(group, ADAPTIVE, best)) is not None:
        found.append(_claim(scenario, f"at most 2 % behind {best}", against, STATIC_MARGIN))
        verdict = "ahead" if against.high < 1 else "behind" if against.low > 1 else "a tie"
        found.append(Claim(scenario.name, f"against {best}", against.mean <= 1, f"{verdict}: {against}"))
    if (against := ratio(group, ADAPTIVE, BATCH_TABLE)) is not None:
        found.append(Claim(scenario.name, "against batch_table", against.mean <= 1, str(against)))
    if ADAPTIVE in group[0].sides:
        shares = [comparison.sides[ADAPTIVE].measures.exploration_share for comparison in group]
        figure = f"{max(shares):.1%} at most"
        found.append(Claim(scenario.name, "exploration within max_share", max(shares) <= MAX_SHARE, figure))
        found += [_reacted(scenario, reaction) for reaction in reactions(group)]
    return found


def to_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Everything, in the contract's shape; ratios, reactions and claims beside it."""
    groups = grouped(comparisons)
    return {
        "scenarios": [comparison.to_json() for comparison in comparisons],
        "claims": [claim._asdict() for group in groups.values() for claim in claims(group)],
    }


def _cells(group: Sequence[Comparison], side: str) -> list[str]:
    of_seeds = [comparison.sides[side].measures for comparison in group]

    def mean(name: str, scale: float = 1.0) -> float:
        values: list[float] = [getattr(measures, name) for measures in of_seeds]
        return scale * sum(values) / len(values)

    speculative = sum(measures.route_share["speculative"] for measures in of_seeds) / len(of_seeds)
    return [
        f"{mean('mean_completion_s'):.2f}",
        f"{mean('p95_completion_s'):.2f}",
        f"{mean('mean_ttft_s'):.2f}",
        f"{mean('mean_tpot_s', 1000):.1f}",
        f"{mean('goodput_per_s'):.2f}",
        f"{mean('tokens_per_s'):.0f}",
        f"{speculative:.0%}",
        f"{mean('mean_k'):.1f}",
        f"{mean('exploration_share'):.1%}",
    ]


def _claim(scenario: Scenario, words: str, against: Interval, margin: float) -> Claim:
    return Claim(scenario.name, words, against.mean <= margin, str(against))


def _reacted(scenario: Scenario, reaction: Reaction) -> Claim:
    limit = FALL_REQUESTS if reaction.kind == "fell" else RISE_REQUESTS
    counts = ", ".join("never" if count is None else str(count) for count in reaction.requests)
    holds = all(count is not None and count <= limit for count in reaction.requests)
    words = f"the oracle's arm within {limit} requests after acceptance {reaction.kind}"
    done = ", ".join("-" if count is None else str(count) for count in reaction.finished)
    return Claim(scenario.name, words, holds, f"{counts} requests, of which finished {done}")

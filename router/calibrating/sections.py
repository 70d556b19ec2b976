"""The report's parts, the same in Markdown and HTML: sentences, tables and plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from policies.calibrating import DomainResult, Figure, Point
from router.calibrating.document import Results
from router.calibrating.words import UNKNOWN, shown, verdict

_SHOWN_POSITIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report. `plots` name pictures of `router.calibrating.plots`, with what they show."""

    title: str
    text: Sequence[str] = ()
    items: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    plots: Sequence[tuple[str, str]] = ()


def facts(results: Results) -> list[tuple[str, str]]:
    """What was measured, each with what it is."""
    about = results.about
    failed = f", {about['failed']} blocks failed" if about["failed"] else ""
    return [
        ("Service", f"{about['url']}, model {about['model']}, policy {about['policy_in_force']}"),
        ("Measured", f"{about['prompts']} prompts, {about['requests']} answers{failed}; {about['at']}"),
        ("Base", f"temperature {about['temperature']:g}, top_p {about['top_p']:g}; intervals of 90 %"),
    ]


def sections(results: Results) -> Iterator[Section]:
    """The report, part by part."""
    drawn = any(one.alpha is not None for one in results.domains)
    yield Section(
        "Domains",
        text=(
            (
                "Effective acceptance at the reference k, and how many times as fast as plain decoding of "
                "the same prompts the best k is, one request at a time."
            ),
        ),
        head=("domain", "pool", "tasks", "prompts", "alpha", "zone", "best k", "speedup", "verdict"),
        rows=[_domain(one) for one in results.domains],
        plots=(
            [
                ("alpha", "Effective acceptance by domain; the gray zone is shaded"),
                ("speedup", "Speedup over plain decoding at the best k, by domain"),
            ]
            if drawn
            else ()
        ),
    )
    if results.warnings:
        yield Section("Warnings", items=results.warnings)
    if drawn:
        yield Section(
            "Acceptance by position",
            text=(
                (
                    "Conditional acceptance of draft token i, given that it was proposed and those before "
                    "were accepted; below it draft coverage: how often an i-th token was proposed, given the "
                    "same. At the largest k."
                ),
            ),
            head=("domain", "pool", "of", *(str(i) for i in range(1, _positions(results.domains) + 1)), ""),
            rows=[row for one in results.domains for row in _by_position(one, _positions(results.domains))],
            plots=[("positions", "Conditional acceptance by position")],
        )
    yield Section(
        "Every side",
        head=(
            "domain",
            "pool",
            "k",
            "temp.",
            "top_p",
            "batch",
            "answers",
            "L",
            "accepted",
            "TPOT ms",
            "TTFT ms",
            "ratio",
            "",
        ),
        rows=[row for one in _sides(results.domains) for row in one],
        text=(
            (
                "L: tokens per step. Accepted: draft tokens over those that were proposed. TPOT: time per "
                "token; TTFT: time to the first one, the median. Ratio: time per token over that of plain "
                "decoding with the same temperature, top_p and batch, prompt by prompt; below 1 is faster. "
                "No interval where too few answers tell."
            ),
        ),
    )
    if results.notes:
        yield Section("What other sampling changes", items=results.notes)
    for profile in dict.fromkeys(point.profile for point in results.points):
        yield _surface(profile, results)
    yield Section(
        "The recommended policy",
        text=(
            (
                "In policy.yaml. An idle service that knows this calibration sends requests so; under load, "
                "and as it learns, it decides anew each time. Where a route is close, drafts worth 5 % more "
                "or less would take the other one: a service may well do so."
            ),
        ),
        items=results.policy.changes or ("nothing to change",),
        head=("task", "temp.", "route", "pool", "k", "alpha", "speedup", "reason"),
        rows=[
            (
                one.task,
                one.temperature,
                f"{one.route}, close" if one.close else one.route,
                one.profile,
                str(one.k),
                UNKNOWN if one.alpha is None else f"{one.alpha:.2f}",
                UNKNOWN if one.speedup is None else f"{one.speedup:.2f}",
                one.reason,
            )
            for one in results.policy.expected
        ],
    )


def shown_points(results: Results, profile: str) -> list[Point]:
    """A pool's part of the surface that the report shows: at the context about which most was measured."""
    return [
        point for point in results.points if point.profile == profile and point.context == results.context
    ]


def _domain(one: DomainResult) -> tuple[str, ...]:
    return (
        one.domain,
        one.profile,
        ", ".join(one.tasks),
        str(one.prompts),
        shown(one.alpha),
        one.zone or UNKNOWN,
        UNKNOWN if one.best_k is None else str(one.best_k),
        shown(one.speedup),
        verdict(one).split(":")[0],
    )


def _positions(domains: Sequence[DomainResult]) -> int:
    return min(_SHOWN_POSITIONS, max((len(one.acceptance) for one in domains), default=0))


def _by_position(one: DomainResult, width: int) -> Iterator[tuple[str, ...]]:
    for name, figures in (("acceptance", one.acceptance), ("coverage", one.coverage)):
        cells = [_short(figure) for figure in figures[:width]]
        yield (one.domain, one.profile, name, *cells, *[UNKNOWN] * (width - len(cells)), "")


def _short(figure: Figure) -> str:
    return f"{figure.value:.2f} ({figure.low:.2f}–{figure.high:.2f})"  # noqa: RUF001 - a dash for people


def _sides(domains: Sequence[DomainResult]) -> Iterator[Iterator[tuple[str, ...]]]:
    """Rows by domain and pool; that of plain decoding is shown with the first pool only."""
    seen: set[tuple[str, str]] = set()
    for one in domains:
        first = (one.domain, "") not in seen
        seen.add((one.domain, ""))
        yield (
            (
                one.domain,
                side.side.profile,
                str(side.side.k),
                f"{side.side.temperature:g}",
                f"{side.side.top_p:g}",
                str(side.side.batch),
                str(side.requests),
                shown(side.acceptance_length),
                shown(side.draft_acceptance_rate),
                shown(side.tpot_ms, 1),
                shown(side.ttft_ms, 0),
                shown(side.tpot_ratio),
                "",
            )
            for side in one.sides
            if side.side.profile == one.profile or first
        )


def _surface(profile: str, results: Results) -> Section:
    at = shown_points(results, profile)
    ks = sorted({point.k for point in at})
    batches = sorted({point.batch for point in at})
    cells = {(point.batch, point.k): point for point in at}
    return Section(
        f"Break-even on {profile}",
        text=(
            (
                f"The effective acceptance from which on drafts pay, at {results.context:g} tokens of "
                "context, like most that was measured; “never” where none does. *: measured with this batch "
                "and k, at about this context; elsewhere the step times say so. Other contexts are in "
                "results.json."
            ),
        ),
        head=("batch", *(f"k = {k}" for k in ks), ""),
        rows=[(str(batch), *(_break_even(cells[batch, k]) for k in ks), "") for batch in batches],
        plots=[
            (f"break-even-{profile}", f"Break-even acceptance over batch on {profile}, a line for each k")
        ],
    )


def _break_even(point: Point) -> str:
    star = "*" if point.measured else ""
    return f"never{star}" if point.alpha is None else f"{point.alpha:.2f}{star}"

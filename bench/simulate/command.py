"""`specroute simulate`: choose scenarios and sides, play them, print what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.simulate.experiment import Comparison, all_sides, compare
from bench.simulate.report import Claim, claims, grouped, table, to_json
from bench.simulate.scenario import Scenario
from bench.simulate.scenarios import SCENARIOS
from policies.problems import choices_hint


class UnknownNameError(ValueError):
    """A scenario or side that does not exist; its text is one line."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. Empty `scenarios` and `policies` mean all."""

    scenarios: tuple[str, ...] = ()
    seeds: int = 5
    policies: tuple[str, ...] = ()
    requests: int | None = None
    as_json: bool = False
    plots: Path | None = None
    check: bool = False


def run_simulate(options: Options, console: Console) -> int:
    """Play and print. 1 when a claim was to be checked and does not hold.

    Raises:
        UnknownNameError: A scenario or side that does not exist.
        OSError: The plots cannot be written.
    """
    scenarios = chosen(options.scenarios)
    sides = {scenario.name: _sides(scenario, options.policies) for scenario in scenarios}
    for name in options.policies:
        if not any(name in of for of in sides.values()):
            known = dict.fromkeys(side for scenario in scenarios for side in all_sides(scenario))
            raise UnknownNameError(f"unknown policy {name!r}: {choices_hint(name, list(known))}")
    if options.plots is not None:
        options.plots.mkdir(parents=True, exist_ok=True)  # before minutes of work are lost to it
    comparisons = _played(scenarios, sides, options)
    groups = grouped(comparisons)
    found = [claim for group in groups.values() for claim in claims(group)]
    if options.plots is not None:
        from bench.simulate.plots import draw_plots  # noqa: PLC0415 - matplotlib takes a second to import

        for path in draw_plots(groups, options.plots):
            print(f"specroute: wrote {path}", file=sys.stderr)
    if options.as_json:
        print(json.dumps(to_json(comparisons)))
    else:
        for group in groups.values():
            console.print(table(group), "")
        if found:
            console.print(_verdicts(found))
    return 1 if options.check and not all(claim.holds for claim in found) else 0


def listed(as_json: bool, console: Console) -> None:
    """Print the scenarios there are, with their sides and where their figures come from."""
    if as_json:
        entries = [
            {
                "name": scenario.name,
                "about": scenario.about,
                "machine": scenario.machine.name,
                "source": scenario.machine.source,
                "engines": scenario.engines,
                "speculative_engines": scenario.speculative,
                "requests": scenario.requests,
                "policies": all_sides(scenario),
            }
            for scenario in SCENARIOS
        ]
        print(json.dumps({"scenarios": entries}))
        return
    view = Table("scenario", "engines", "machine", "requests", "about", box=None, pad_edge=False)
    for scenario in SCENARIOS:
        engines = f"{scenario.speculative} of {scenario.engines} speculative"
        view.add_row(scenario.name, engines, scenario.machine.name, str(scenario.requests), scenario.about)
    console.print(view)
    for name, source in {scenario.machine.name: scenario.machine.source for scenario in SCENARIOS}.items():
        console.print(f"\n{name}: {source}")


def chosen(names: Sequence[str]) -> list[Scenario]:
    """The scenarios of these names, all for none.

    Raises:
        UnknownNameError: One of them does not exist.
    """
    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in names:
        if name not in known:
            raise UnknownNameError(f"unknown scenario {name!r}: {choices_hint(name, list(known))}")
    return [known[name] for name in dict.fromkeys(names)] if names else list(SCENARIOS)


def _sides(scenario: Scenario, wanted: Sequence[str]) -> list[str]:
    return [side for side in all_sides(scenario) if not wanted or side in wanted]


def _played(scenarios: Sequence[Scenario], sides: dict[str, list[str]], options: Options) -> list[Comparison]:
    comparisons: list[Comparison] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        total = options.seeds * sum(len(of) for of in sides.values())
        task = progress.add_task("", total=total)

        def telling(scenario: Scenario, seed: int) -> Callable[[str], None]:
            def tell(side: str) -> None:
                done = f"{int(progress.tasks[0].completed)}/{total}"
                progress.update(task, description=f"{done} {scenario.name}, seed {seed}: {side}")
                progress.advance(task)

            return tell

        for scenario in scenarios:
            if not sides[scenario.name]:
                continue
            comparisons += [
                compare(
                    scenario,
                    seed,
                    sides=sides[scenario.name],
                    requests=options.requests,
                    progress=telling(scenario, seed),
                )
                for seed in range(options.seeds)
            ]
    return comparisons


def _verdicts(found: Sequence[Claim]) -> Table:
    view = Table("scenario", "claim", "holds", "figure", box=None, pad_edge=False)
    for claim in found:
        view.add_row(claim.scenario, claim.claim, "yes" if claim.holds else "no", claim.figure)
    return view

"""`specroute simulate`: the router's own code on simulated fleets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router.cli_output import table_console

_BAD_INPUT = 2


def simulate(  # noqa: PLR0917 - options, by keyword
    scenario: Annotated[
        list[str] | None, typer.Option(help="Only this scenario; may be repeated [default: all].")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Workloads drawn for each scenario.")] = 5,
    policies: Annotated[
        str | None, typer.Option(help="Only these sides, separated by commas [default: all].")
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=50, help="Requests of each workload [default: the scenario's].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Write pictures into this folder.")] = None,
    list_scenarios: Annotated[
        bool, typer.Option("--list", help="Print the scenarios and the sources of their figures.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 when a claim does not hold.")] = False,
) -> None:
    """Compare adaptive routing with fixed choices on simulated fleets, with the same code the service runs.

    Every side has the same number of engines and meets the same requests with the same luck.

    For example:

    - `specroute simulate --list`
    - `specroute simulate --scenario drift --seeds 3 --plots plots`
    - `specroute simulate --scenario bursts --policies adaptive,always_vanilla,oracle --json`
    """
    from bench.simulate.command import Options, UnknownNameError, listed, run_simulate  # noqa: PLC0415 - SimPy

    if list_scenarios:
        listed(as_json, table_console())
        return
    options = Options(
        scenarios=tuple(scenario or ()),
        seeds=seeds,
        policies=tuple(name.strip() for name in policies.split(",") if name.strip()) if policies else (),
        requests=requests,
        as_json=as_json,
        plots=plots,
        check=check,
    )
    try:
        code = run_simulate(options, table_console())
    except UnknownNameError as error:
        typer.echo(f"specroute: {error}", err=True)
        raise typer.Exit(_BAD_INPUT) from None
    except OSError as error:
        typer.echo(f"specroute: --plots: {error.filename or plots}: {error.strerror or error}", err=True)
        raise typer.Exit(_BAD_INPUT) from None
    raise typer.Exit(code)

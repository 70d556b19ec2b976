"""The benches of the router's parts: overhead, decision, store, scaling, startup."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from router.cli_bench.common import OUT, REPEATS, AsJson, Out, Repeats, counts, kept, names, say
from router.cli_policy.files import bad_input


def overhead(  # noqa: PLR0917 - an option each
    peers: Annotated[
        Path | None, typer.Option(help="Where other routers are installed; without it they are left out.")
    ] = None,
    install_peers: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Install the other routers there, and end.")
    ] = None,
    sides: Annotated[
        str | None, typer.Option(help="Only these sides, separated by commas [default: all].")
    ] = None,
    chunks: Annotated[str, typer.Option(help="Chunks of a stream.")] = "8,64",
    clients: Annotated[str, typer.Option(help="Clients at once.")] = "1,8,64",
    requests: Annotated[int, typer.Option(min=1, help="Requests of a block, or two per client.")] = 32,
    repeats: Repeats = REPEATS,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Measure what the router adds to a request, beside bare Ray Serve and other routers.

    For example:

    - `specroute bench overhead --install-peers ~/peers`
    - `specroute bench overhead --peers ~/peers`
    """
    from bench.commands import run_overhead  # noqa: PLC0415 - keeps --help quick

    if install_peers is not None:
        from bench.overhead.command import main  # noqa: PLC0415

        raise typer.Exit(main(["--install-peers", str(install_peers)]))
    arguments = ["--repeats", str(repeats), "--requests", str(requests)]
    arguments += ["--chunks", *map(str, counts(chunks, "--chunks"))]
    arguments += ["--clients", *map(str, counts(clients, "--clients"))]
    arguments += ["--peers", str(peers)] if peers is not None else []
    if chosen := names(sides):
        from bench.overhead.sides import SIDES  # noqa: PLC0415

        if unknown := [name for name in chosen if name not in SIDES]:
            raise bad_input(f"--sides: {unknown[0]}: name some of {', '.join(SIDES)}")
        arguments += ["--sides", *chosen]
    kept("overhead", out, partial(run_overhead, arguments), as_json=as_json)


def decision(  # noqa: PLR0917 - an option each
    decisions: Annotated[int, typer.Option(min=1, help="Decisions of each repeat.")] = 20_000,
    tenants: Annotated[int, typer.Option(min=1, help="Tenants that the router knows.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="How often each repeat classifies a request.")] = 20,
    repeats: Repeats = REPEATS,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Measure decisions per second and core, and what classification takes.

    Example: specroute bench decision
    """
    from bench.commands import run_decision  # noqa: PLC0415 - keeps --help quick

    run = partial(run_decision, decisions=decisions, tenants=tenants, rounds=rounds, repeats=repeats, say=say)
    kept("decision", out, run, as_json=as_json)


def store(
    requests: Annotated[str, typer.Option(help="Requests of a flush.")] = "1,10,50,200,1000",
    cells: Annotated[
        int, typer.Option(min=1, help="(tenant, task) cells whose memory is measured.")
    ] = 10_000,
    repeats: Repeats = REPEATS,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Measure what a flush of statistics costs per request, and what cells take in memory.

    Example: specroute bench store --requests 50,500
    """
    from bench.commands import run_store  # noqa: PLC0415 - keeps --help quick

    sizes = counts(requests, "--requests")
    kept(
        "store",
        out,
        partial(run_store, requests=sizes, cells=cells, repeats=repeats, say=say),
        as_json=as_json,
    )


def scaling(  # noqa: PLR0917 - an option each
    tenants: Annotated[str, typer.Option(help="Tenants that a router knows.")] = "10,100,1000",
    routers: Annotated[str, typer.Option(help="Routers of a service.")] = "1,2,4",
    decisions: Annotated[int, typer.Option(min=1, help="Decisions of each repeat.")] = 20_000,
    clients: Annotated[int, typer.Option(min=1, help="Clients at once.")] = 32,
    requests: Annotated[int, typer.Option(min=1, help="Requests of each repeat.")] = 512,
    repeats: Repeats = REPEATS,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Measure whether costs grow with tenants, and with routers side by side.

    Example: specroute bench scaling --routers 1,2
    """
    from bench.commands import run_scaling  # noqa: PLC0415 - keeps --help quick

    run = partial(
        run_scaling,
        tenants=counts(tenants, "--tenants"),
        routers=counts(routers, "--routers"),
        decisions=decisions,
        clients=clients,
        requests=requests,
        repeats=repeats,
        say=say,
    )
    kept("scaling", out, run, as_json=as_json)


def startup(
    kinds: Annotated[
        str,
        typer.Option(help="Kinds of starts: `warm`, `cold` (no prepared model), `pretending` (no engines)."),
    ] = "warm,cold,pretending",
    program: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Another installation's `specroute`; may be repeated."),
    ] = None,
    repeats: Repeats = REPEATS,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Measure how long the service takes until it answers, with and without a prepared model.

    Example: specroute bench startup --program before=/srv/old/.venv/bin/specroute
    """
    from bench.commands import run_startup  # noqa: PLC0415 - keeps --help quick
    from bench.startup import KINDS  # noqa: PLC0415

    chosen = names(kinds)
    if unknown := [name for name in chosen if name not in KINDS]:
        raise bad_input(f"--kinds: {unknown[0]}: name some of {', '.join(KINDS)}")
    programs = dict(_program(text) for text in program or ())
    run = partial(run_startup, kinds=chosen, programs=programs, repeats=repeats, say=say)
    kept("startup", out, run, as_json=as_json)


def _program(text: str) -> tuple[str, Path]:
    name, found, path = text.partition("=")
    if not (name and found and path):
        raise bad_input(f"--program: {text}: write NAME=PATH")
    return name, Path(path)

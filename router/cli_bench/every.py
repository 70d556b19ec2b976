"""`specroute bench all`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from router.cli_bench.common import OUT, REPEATS, Out, Repeats, say
from router.cli_bench.end_to_end import end_to_end
from router.cli_bench.parts import decision, overhead, scaling, startup, store


def every(
    peers: Annotated[Path | None, typer.Option(help="Where other routers are installed.")] = None,
    spec_bench: Annotated[Path | None, typer.Option(help="Rows of Spec-Bench, JSON Lines.")] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, metavar="MINUTES", help="For the end-to-end bench.")
    ] = None,
    repeats: Repeats = REPEATS,
    out: Out = OUT,
) -> None:
    """Run all benches one after the other, with their defaults.

    One that fails does not keep the others from running. Exit code 1: one failed, or is not finished.

    Example: specroute bench all --peers ~/peers --budget 180
    """
    benches: dict[str, Callable[[], None]] = {
        "decision": lambda: decision(repeats=repeats, out=out),
        "store": lambda: store(repeats=repeats, out=out),
        "scaling": lambda: scaling(repeats=repeats, out=out),
        "startup": lambda: startup(repeats=repeats, out=out),
        "overhead": lambda: overhead(peers=peers, repeats=repeats, out=out),
        "end-to-end": lambda: end_to_end(spec_bench=spec_bench, budget=budget, repeats=repeats, out=out),
    }
    failed = []
    for name, run in benches.items():
        say(f"bench {name}")
        try:
            run()
        except typer.Exit as ended:
            if ended.exit_code:
                failed.append(name)
    if failed:
        say(f"failed or not finished: {', '.join(failed)}")
        raise typer.Exit(1)

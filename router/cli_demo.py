"""`specroute demo`: the loop at work, on a shipped set of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    url: Annotated[
        str | None,
        typer.Option(
            help="A running service [default: http://127.0.0.1:8000 if it answers, else one is started]."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Start a service of this deployment, as `serve --config` does.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Send only so many prompts [default: all].")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the prompts' order.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print figures and requests as one JSON object.")
    ] = False,
) -> None:
    """Send prompts of every task twice, and show what routing learned in between and what it saves.

    A first pass teaches the router, a second one uses that. Beside both every prompt is sent vanilla as
    well, to compare with. Exit code 1 when requests failed.

    For example:

    - `specroute demo`
    - `specroute demo --url http://127.0.0.1:9000 --limit 28`
    - `specroute demo --json > demo.json`
    """
    from router.demo.command import Options, run_demo  # noqa: PLC0415 - keeps --help quick

    raise typer.Exit(run_demo(Options(url=url, config=config, limit=limit, seed=seed, as_json=as_json)))

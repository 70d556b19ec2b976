"""The `specroute` command. Exit codes: 0 done, 1 ran with a negative result, 2 bad input."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from router.cli_lazy import Lazy, lazy_group

_LAZY = {
    "alpha": Lazy(
        "router.cli_alpha",
        "alpha",
        "Show acceptance per task, tenant, temperature and profile: its "
        "interval, its evidence, the arm in use.",
    ),
    "bench": Lazy(
        "router.cli_bench.app",
        "app",
        "Measure this router beside what it stands against.",
    ),
    "calibrate": Lazy(
        "router.cli_calibrate",
        "calibrate",
        "Measure what drafts are worth on your prompts, and write a report, a calibration file and a policy.",
    ),
    "demo": Lazy(
        "router.cli_demo",
        "demo",
        "Send prompts of every task twice, and show what routing learned in between and what it saves.",
    ),
    "draft": Lazy("router.cli_draft", "app", "Make drafters, and keep them fresh."),
    "plan": Lazy(
        "router.cli_plan",
        "plan",
        "Plan an engine: what weights and KV cache take, what fits, and what drafting may gain.",
    ),
    "report": Lazy(
        "router.cli_report",
        "report",
        "Report what speculation saved per task and tenant, with intervals from requests that were held out.",
    ),
    "simulate": Lazy(
        "router.cli_simulate",
        "simulate",
        "Compare adaptive routing with fixed choices on simulated fleets, with "
        "the same code the service runs.",
    ),
    "policy": Lazy("router.cli_policy.app", "app", "Check, explain, compare and change policies."),
    "keys": Lazy("router.cli_keys", "app", "Make and check tenants' API keys."),
}

app = typer.Typer(
    help="""Route chat requests to speculative or plain vLLM engines, from measured acceptance.

    For example:

    - `specroute serve`: an OpenAI endpoint on 127.0.0.1:8000
    - `specroute demo`: what routing learns, and what it saves
    - `specroute alpha --task code`: what was learned so far
    - `specroute report`: what speculation saved, with proof
    - `specroute --install-completion`: completion for your shell
    """,
    cls=lazy_group(_LAZY),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
models = typer.Typer(
    help="The embedded model.\n\nExample: specroute models prepare",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(models, name="models")

BAD_INPUT = 2


def main() -> None:
    """Run the command line."""
    app()


@app.command()
def serve(
    *,
    config: Annotated[
        Path | None,
        typer.Option(help="A Ray Serve config file with one application; default: the embedded set-up."),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="A policy file, reloaded when it changes.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on [default: 8000].")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check everything that can be checked, start nothing.")
    ] = False,
    gpus: Annotated[
        str | None,
        typer.Option(
            help="With --check: GPUs of each node that engines will run on, like 8,8,2 [default: this one's]."
        ),
    ] = None,
) -> None:
    """Serve an OpenAI-compatible endpoint until Ctrl-C.

    For example:

    - `specroute serve`
    - `specroute serve --policy my-policy.yaml --port 9000`
    - `specroute serve --config deployment.yaml --check --gpus 4,4`
    """
    from router.serving.command import run_serve  # noqa: PLC0415 - keeps --help quick

    raise typer.Exit(run_serve(config=config, policy=policy, host=host, port=port, check=check, gpus=gpus))


@models.command("prepare")
def models_prepare(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Turn the packaged model into the folder the engines serve; quick when it is there already.

    Example: specroute models prepare
    """
    from replicas import model_store  # noqa: PLC0415 - keeps --help quick

    def show(stage: str, fraction: float) -> None:
        if not as_json:
            typer.echo(
                f"\r{stage}: {fraction:4.0%}" if sys.stderr.isatty() else f"{stage}: {fraction:4.0%}",
                err=True,
            )

    try:
        folder = model_store.prepare(model_store.default_cache_dir(), progress=show, deep=True)
    except model_store.ModelStoreError as error:
        typer.echo(f"specroute: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps({"folder": str(folder)}) if as_json else str(folder))


@app.command()
def classify(
    file: Annotated[
        Path | None, typer.Argument(help="JSON Lines with `messages`; default: standard input.")
    ] = None,
) -> None:
    """Print the task of each request: JSON Lines with `messages` in, `{"task", "confidence"}` out.

    Example: specroute classify requests.jsonl
    """
    from router.tasks.trained import trained_classifier  # noqa: PLC0415 - keeps --help quick
    from router.tasks_cli import LineError, classify_lines  # noqa: PLC0415

    try:
        # Standard input by its descriptor's bytes: whatever the locale, requests are UTF-8.
        lines = (
            file.open(encoding="utf-8", errors="replace")
            if file is not None
            else io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace")
        )
    except OSError as error:
        typer.echo(f"specroute: {file}: {error.strerror or error}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    bad = False
    with lines:
        for result in classify_lines(lines, trained_classifier()):
            if isinstance(result, LineError):
                bad = True
                typer.echo(f"specroute: {result}", err=True)
            else:
                typer.echo(result.to_json())
    if bad:
        raise typer.Exit(BAD_INPUT)

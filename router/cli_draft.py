"""`specroute draft`: drafters of our own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from router.cli_lazy import MARKDOWN
from router.cli_policy.files import bad_input
from router.cli_refresh import refresh

app = typer.Typer(
    help="Make drafters, and keep them fresh.\n\nExample: specroute draft train --out runs/drafter",
    no_args_is_help=True,
    add_completion=False,
    **MARKDOWN,
)

_INTERRUPTED = 1


app.command("refresh")(refresh)


@app.callback()
def draft() -> None:
    """Make drafters, and keep them fresh."""


@app.command()
def train(  # noqa: PLR0917 - an option each
    out: Annotated[Path, typer.Option(help="Folder of the run: recorded answers, checkpoint, drafter.")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="A Llama's Hugging Face folder [default: the embedded model, prepared if need be]."
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Your prompts, JSONL with `messages` or `prompt`: answered before the project's own."
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Answer tokens to record.", min=1)] = 400_000,
    epochs: Annotated[int, typer.Option(help="Most times that every answer is learned from.", min=1)] = 5,
    rate: Annotated[float, typer.Option(help="Greatest learning rate.", min=1e-6, max=1.0)] = 1e-3,
    draft_vocabulary: Annotated[int, typer.Option(help="Tokens the drafter can draft.", min=2)] = 8192,
    threads: Annotated[int | None, typer.Option(help="CPU threads [default: all cores].", min=1)] = None,
    record_only: Annotated[
        bool, typer.Option("--record-only", help="Record answers and stop before training.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Distil a small EAGLE-3 drafter from a model's own answers.

    The model answers prompts of every task while its hidden states are recorded; the drafter learns to
    foresee it, and is measured on answers it never learned from. About an hour on two free cores for the
    embedded model. Interrupted, the same command goes on where it stopped. Progress goes to standard error.

    Example: `specroute draft train --out runs/drafter`, then a profile with `method: eagle3` and
    `draft_model: runs/drafter/drafter`.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait spinning take others' time
    from dataclasses import replace  # noqa: PLC0415 - torch is imported late: --help stays quick

    from drafters.distilling import Settings, distil  # noqa: PLC0415
    from drafters.distilling import record_only as recording  # noqa: PLC0415
    from drafters.errors import DraftError  # noqa: PLC0415

    usual = Settings()
    settings = Settings(
        ask=replace(usual.ask, tokens=tokens),
        size=replace(usual.size, draft_vocabulary=draft_vocabulary),
        learn=replace(usual.learn, epochs=epochs, rate=rate),
        prompts=prompts,
        threads=threads,
    )
    source = embedded_model() if model is None else model
    try:
        if record_only:
            found = recording(out, source, settings, say=_say)
            _tell(as_json, {"folder": str(out), "answer_tokens": found.answered}, str(out))
        else:
            made = distil(out, source, settings, say=_say)
            _tell(as_json, {"folder": str(made.folder), **made.report}, str(made.folder))
    except DraftError as error:
        raise bad_input(str(error)) from None
    except KeyboardInterrupt:
        typer.echo("specroute: stopped; the same command goes on where it stopped", err=True)
        raise typer.Exit(_INTERRUPTED) from None


def embedded_model() -> Path:
    """The embedded model's folder, prepared where it is missing."""
    from replicas import model_store  # noqa: PLC0415

    def show(stage: str, fraction: float) -> None:
        _say(f"{stage}: {fraction:4.0%}")

    try:
        return model_store.prepare(model_store.default_cache_dir(), progress=show)
    except model_store.ModelStoreError as error:
        raise bad_input(str(error)) from None


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _tell(as_json: bool, document: dict[str, object], line: str) -> None:
    typer.echo(json.dumps(document) if as_json else line)

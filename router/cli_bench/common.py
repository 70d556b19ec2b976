"""What all commands of `specroute bench` share: options, and how results are kept and errors told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

_FAILED: Final = 1
_BAD_INPUT: Final = 2

Out = Annotated[Path, typer.Option(help="Folder of the result files; docs/benchmarks holds the project's.")]
Repeats = Annotated[int, typer.Option(min=1, help="How often every side is measured.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result file, not tables.")]
OUT: Final = Path("bench-results")
REPEATS: Final = 5


def say(line: str) -> None:
    """Tell how far it is, on standard error."""
    typer.echo(f"specroute: {line}", err=True)


def kept(name: str, out: Path, run: Callable[[], dict[str, Any]], *, as_json: bool) -> dict[str, Any]:
    """Run a bench, keep its document as `name`.json and print it.

    Errors end the command with a line and exit code 1; so does Ctrl-C, once what was started has ended.
    """
    from bench.report.sections import section  # noqa: PLC0415 - keeps --help quick
    from bench.results import BenchError, OptionError, write  # noqa: PLC0415
    from bench.stopping import stop_on_sigterm  # noqa: PLC0415

    stop_on_sigterm()
    try:
        document = run()
        path = write(out, name, document)
    except BenchError as error:
        say(str(error))
        raise typer.Exit(_BAD_INPUT if isinstance(error, OptionError) else _FAILED) from None
    except KeyboardInterrupt:
        say("stopped")
        raise typer.Exit(_FAILED) from None
    typer.echo(json.dumps(document) if as_json else section(document))
    say(f"wrote {path}")
    return document


def counts(text: str, option: str) -> list[int]:
    """Numbers separated by commas, each at least 1."""
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        typer.echo(f"specroute: {option}: {text}: write numbers from 1 on, separated by commas", err=True)
        raise typer.Exit(_BAD_INPUT)
    return found


def names(text: str | None) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())

"""`specroute bench report`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from router.cli_policy.files import bad_input

_CHANGED: Final = 1
_MARK: Final = "<!-- bench: "


def report(
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path("docs/benchmarks"),
    page: Annotated[
        list[Path] | None,
        typer.Option(help="A page with marks; may be repeated [default: README.md and all of docs]."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit code 1 where a page is not what it should be."),
    ] = False,
) -> None:
    """Make the figures of README.md and docs anew from the result files.

    What stands between `<!-- bench: NAME -->` and `<!-- /bench -->` is replaced, NAME being a bench or
    `gains`; pictures are drawn beside the result files.

    Example: specroute bench report --check
    """
    from bench.report.page import regenerate  # noqa: PLC0415 - keeps --help quick
    from bench.results import BenchError  # noqa: PLC0415

    pages = page or [found for found in _usual() if _MARK in found.read_text("utf-8")]
    if not pages:
        raise bad_input("--page: neither README.md nor a page of docs is here with marks: name a page")
    links = {found: os.path.relpath(results, found.parent) for found in pages}
    try:
        changed = regenerate(results, links, check=check)
    except BenchError as error:
        raise bad_input(str(error)) from None
    for path in changed:
        typer.echo(f"{'differs' if check else 'wrote'}: {path}")
    if check and changed:
        raise typer.Exit(_CHANGED)


def _usual() -> list[Path]:
    return [*sorted(Path("docs").glob("*.md")), *Path().glob("README.md")]

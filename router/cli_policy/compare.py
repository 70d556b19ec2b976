"""`specroute policy diff`."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from policies.diff import Difference, differences
from router.cli_output import table_console
from router.cli_policy.files import AsJson, loaded
from router.policy_differences import difference_entry, difference_words, named


def diff(
    old: Annotated[Path, typer.Argument(help="The policy as it is.")],
    new: Annotated[Path, typer.Argument(help="The policy as it would be.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what changes for whom: every effective value once, for the broadest group it changes for.

    What is told of certain hours, a task, a segment or a tenant outranks what is told of everyone, as layers
    do. Exit code: 0 nothing changes, 1 something does, 2 a policy cannot be used.

    Example: specroute policy diff policy.yaml next.yaml
    """
    policies = [loaded(file, as_json=as_json) for file in (old, new)]
    found = differences(*policies)
    if as_json:
        typer.echo(
            json.dumps(
                {"old": str(old), "new": str(new), "changes": [difference_entry(row) for row in found]}
            )
        )
    elif found:
        _print(found)
    else:
        typer.echo("nothing changes for anyone")
    raise typer.Exit(1 if found else 0)


def _print(found: list[Difference]) -> None:
    for number, (where, rows) in enumerate(groupby(found, key=lambda row: row.where)):
        typer.echo(("\n" if number else "") + named(where))
        table = Table.grid(padding=(0, 2, 0, 0))
        for row in rows:
            words = difference_words(row)
            told = f"except {words['except']}" if words["except"] else ""
            table.add_row(f"  {row.path}", words["change"], told)
        table_console().print(table, highlight=False, markup=False)

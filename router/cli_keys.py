"""`specroute keys`: API keys of tenants, and the file that names their owners."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from router.cli_output import table_console

app = typer.Typer(
    help="""Make and check tenants' API keys.

    For example:

    - `specroute keys new acme`: a key, and its line for the keys file
    - `specroute keys validate keys.yaml`
    """,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_BAD_INPUT = 2
_LONGEST_GIVEN_KEY = 1024

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def new(
    tenant: Annotated[str, typer.Argument(help="Whose key it is.")],
    label: Annotated[
        str | None, typer.Option(help="What operators see beside it [default: today's date].")
    ] = None,
    given: Annotated[
        bool, typer.Option("--stdin", help="Take the key from standard input instead of making one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print a new key, this once, and the line to add to the keys file; the file never holds the key itself.

    Example: specroute keys new acme --label "backend, from November"
    """
    from router import keys  # noqa: PLC0415 - keeps --help quick

    key = sys.stdin.readline(_LONGEST_GIVEN_KEY).strip() if given else keys.new_key()
    if not key or not key.isprintable() or " " in key:
        typer.echo("specroute: --stdin: expected a key on one line, without spaces", err=True)
        raise typer.Exit(_BAD_INPUT)
    try:
        line = keys.file_line(
            key, tenant, dt.datetime.now().astimezone().date().isoformat() if label is None else label
        )
    except keys.KeysError as error:
        typer.echo(f"specroute: {error}", err=True)
        raise typer.Exit(_BAD_INPUT) from None
    if as_json:
        typer.echo(json.dumps({"tenant": tenant, "key": None if given else key, "line": line}))
        return
    if not given:
        typer.echo("The key, shown only now; give it to the tenant:", err=True)
        typer.echo(key)
    typer.echo("Its line for the keys file:", err=True)
    typer.echo(line)


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="The keys file.")],
    as_json: AsJson = False,
) -> None:
    """Say everything that is wrong with a keys file, or whose keys it holds.

    Example: specroute keys validate keys.yaml
    """
    from router import keys  # noqa: PLC0415 - keeps --help quick

    try:
        table = keys.parse_keys(file.read_bytes(), str(file))
    except (OSError, keys.KeysError) as error:
        problems = (
            [f"{file}: {error.strerror or error}"] if isinstance(error, OSError) else str(error).splitlines()
        )
        if as_json:
            typer.echo(json.dumps({"valid": False, "problems": problems}))
        else:
            typer.echo("\n".join(problems), err=True)
        raise typer.Exit(_BAD_INPUT) from None
    entries = table.entries()
    if as_json:
        typer.echo(json.dumps({"valid": True, "problems": [], "keys": entries}))
        return
    rows = Table("tenant", "label", "sha256", box=None, pad_edge=False)
    for entry in entries:
        rows.add_row(entry["tenant"], entry["label"] or "-", entry["sha256"])
    table_console().print(rows if entries else "no keys: nobody gets in with one")

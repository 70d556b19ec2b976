"""`specroute policy`: validate, explain and describe policies."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from policies.loading import PolicyError, parse_policy, policy_json_schema
from policies.resolve import applying, explain
from policies.schema import RoutingPolicy
from policies.tasks import TASKS
from router.cli_output import table_console
from router.policy_source import default_policy

app = typer.Typer(
    help="""Check and explain policies.

    For example:

    - `specroute policy validate my-policy.yaml`
    - `specroute policy explain my-policy.yaml --tenant acme --task code --at 09:00`
    - `specroute policy schema > policy.schema.json`
    """,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_BAD_INPUT = 2

PolicyFile = Annotated[Path | None, typer.Argument(help="A policy file; default: the built-in policy.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def validate(file: PolicyFile = None, as_json: AsJson = False) -> None:
    """Say everything that is wrong with a policy.

    Example: specroute policy validate my-policy.yaml
    """
    policy = _loaded(file, as_json=as_json)
    name = policy.metadata.name
    typer.echo(json.dumps({"valid": True, "name": name, "problems": []}) if as_json else f"{name}: valid")


@app.command("explain")
def explain_command(
    file: PolicyFile = None,
    tenant: Annotated[str, typer.Option(help="For this tenant.")] = "anonymous",
    task: Annotated[str, typer.Option(help="For this task.")] = "other",
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When, as 2026-11-23T09:00+01:00, or 09:00 for today; without a zone this machine's time. "
            "Default: now.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show every setting that holds for a tenant and task at a time, and which layer set it.

    Example: specroute policy explain my-policy.yaml --tenant acme --task code --at 09:00
    """
    policy = _loaded(file, as_json=as_json)
    known = (*TASKS, *(custom.name for custom in policy.spec.custom_tasks))
    if task not in known:
        typer.echo(f"specroute: --task: unknown task {task!r}; known: {', '.join(known)}", err=True)
        raise typer.Exit(_BAD_INPUT)
    moment = _moment(at)
    rows = explain(policy, tenant, task, moment)
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows]))
        return
    table = Table("setting", "value", "set by", box=None, pad_edge=False)
    for row in rows:
        value = "-" if row.value is None else str(row.value)
        table.add_row(row.path, value, f"{row.layer} ({row.note})" if row.note else row.layer)
    table_console().print(table)
    if policy.spec.schedules:
        names = [policy.spec.schedules[index].name for index in applying(policy, moment)]
        when = moment.isoformat(timespec="minutes")
        typer.echo(f"\nschedules that apply at {when}: {', '.join(names) or 'none'}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of policy files, for editors.

    Example: specroute policy schema > policy.schema.json
    """
    typer.echo(json.dumps(policy_json_schema(), indent=2))


def _moment(text: str | None) -> dt.datetime:
    """The time that is meant, with its zone."""
    now = dt.datetime.now().astimezone()
    if text is None:
        return now
    if re.fullmatch("[0-9]{2}:[0-9]{2}", text):
        text = f"{now:%Y-%m-%d}T{text}"
    try:
        moment = dt.datetime.fromisoformat(text)
        # Elsewhere on the globe, too, the year must be one that can be written.
        if dt.MINYEAR < moment.year < dt.MAXYEAR:
            return moment if moment.tzinfo else moment.astimezone()
    except ValueError:
        pass
    hint = "write it like 2026-11-23T09:00+01:00, or 09:00 for today"
    typer.echo(f"specroute: --at: {text!r} is not a time; {hint}", err=True)
    raise typer.Exit(_BAD_INPUT)


def _loaded(file: Path | None, *, as_json: bool) -> RoutingPolicy:
    try:
        text: str | bytes = default_policy() if file is None else file.read_bytes()
    except OSError as error:
        typer.echo(f"specroute: {file}: {error.strerror or error}", err=True)
        raise typer.Exit(_BAD_INPUT) from None
    try:
        return parse_policy(text, str(file) if file is not None else "default.yaml")
    except PolicyError as error:
        if as_json:
            problems = [
                {
                    "line": found.line,
                    "column": found.column,
                    "path": found.path,
                    "message": found.message,
                    "hint": found.hint,
                }
                for found in error.problems
            ]
            typer.echo(json.dumps({"valid": False, "problems": problems}))
        else:
            typer.echo(str(error), err=True)
        raise typer.Exit(_BAD_INPUT) from None

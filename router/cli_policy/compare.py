"""`specroute policy diff`."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from policies.diff import Difference, Where, differences
from policies.problems import show
from router.cli_output import table_console
from router.cli_policy.files import AsJson, loaded

_NAMED_TENANTS = 20
_EXCEPTED_TENANTS = 5
"""More than a line has room for are counted; JSON names them all."""


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
        typer.echo(json.dumps({"old": str(old), "new": str(new), "changes": [_entry(row) for row in found]}))
    elif found:
        _print(found)
    else:
        typer.echo("nothing changes for anyone")
    raise typer.Exit(1 if found else 0)


def _print(found: list[Difference]) -> None:
    for number, (where, rows) in enumerate(groupby(found, key=lambda row: row.where)):
        typer.echo(("\n" if number else "") + _named(where))
        table = Table.grid(padding=(0, 2, 0, 0))
        for row in rows:
            # Hours that are those of the row go without saying.
            besides = [
                other._replace(hours=None) if other.hours == where.hours else other
                for other in row.exceptions
            ]
            told = f"except {'; '.join(_named(other, shorten=True) for other in besides)}" if besides else ""
            table.add_row(f"  {row.path}", f"{_value(row.before)} → {_value(row.after)}", told)
        table_console().print(table, highlight=False, markup=False)


def _value(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str | bool):
        return show(value).strip("'")
    return json.dumps(value).replace('"', "")


def _named(where: Where, *, shorten: bool = False) -> str:
    parts = []
    if where.tenants:
        parts.append(_tenants(where.tenants, shorten=shorten))
    if where.segment is not None:
        parts.append(f"segment {where.segment}")
    if where.task is not None:
        parts.append(f"task {where.task}")
    if where.hours is not None:
        parts = [*(parts or ["everyone"]), _hours(*where.hours)]
    return ", ".join(parts) or "everyone"


def _tenants(names: tuple[str, ...], *, shorten: bool) -> str:
    shown = names[: _EXCEPTED_TENANTS if shorten else _NAMED_TENANTS]
    rest = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return f"tenant{'s' if len(names) > 1 else ''} {', '.join(shown)}{rest}"


def _hours(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    ended = [name for name in before if name not in after]
    begun = [name for name in after if name not in before]
    kept = [name for name in after if name in before]
    told = [f"{' and '.join(kept)} {'apply' if len(kept) > 1 else 'applies'}"] if kept else []
    if ended and begun:
        told.append(f"{' and '.join(begun)} applies instead of {' and '.join(ended)}")
    elif begun:
        told.append(f"{' and '.join(begun)} newly applies")
    elif ended:
        told.append(f"{' and '.join(ended)} no longer applies")
    return f"while {' and '.join(told)}" if told else "while no schedule applies"


def _entry(row: Difference) -> dict[str, Any]:
    return {
        **_where_entry(row.where),
        "path": row.path,
        "before": row.before,
        "after": row.after,
        "exceptions": [_where_entry(where) for where in row.exceptions],
    }


def _where_entry(where: Where) -> dict[str, Any]:
    hours = None if where.hours is None else {"before": where.hours[0], "after": where.hours[1]}
    return {"segment": where.segment, "tenants": where.tenants, "task": where.task, "schedules": hours}

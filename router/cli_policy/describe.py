"""`specroute policy explain` and `specroute policy schema`."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from policies import resolve
from policies.loading import policy_json_schema
from policies.preferences import Preferences, PreferencesError, parse_preferences
from policies.problems import choices_hint
from router.cli_output import table_console
from router.cli_policy.files import AsJson, PolicyFile, bad_input, file_text, loaded


def explain(
    file: PolicyFile = None,
    *,
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
    preferences: Annotated[
        Path | None,
        typer.Option(help="JSON that the tenant set for itself, as GET /v1/specroute/preferences answers."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show every setting that holds for a tenant and task at a time, and which layer set it.

    Example: specroute policy explain my-policy.yaml --tenant acme --task code --at 09:00
    """
    policy = loaded(file, as_json=as_json)
    if task not in (known := policy.spec.known_tasks):
        raise bad_input(f"--task: unknown task {task!r}; {choices_hint(task, known)}")
    moment = _moment(at)
    rows = resolve.explain(policy, tenant, task, moment, _preferences(preferences))
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows]))
        return
    table = Table("setting", "value", "set by", box=None, pad_edge=False)
    for row in rows:
        value = "-" if row.value is None else str(row.value)
        table.add_row(row.path, value, f"{row.layer} ({row.note})" if row.note else row.layer)
    table_console().print(table)
    own = policy.spec.tenants.get(tenant)
    if own is not None and own.segment is not None:
        typer.echo(f"\nsegment of {tenant}: {own.segment}")
    if policy.spec.schedules:
        names = [policy.spec.schedules[index].name for index in resolve.applying(policy, moment)]
        when = moment.isoformat(timespec="minutes")
        typer.echo(f"\nschedules that apply at {when}: {', '.join(names) or 'none'}")


def schema() -> None:
    """Print the JSON Schema of policy files, for editors.

    Example: specroute policy schema > policy.schema.json
    """
    typer.echo(json.dumps(policy_json_schema(), indent=2))


def _preferences(file: Path | None) -> Preferences | None:
    if file is None:
        return None
    try:
        return parse_preferences(json.loads(file_text(file)))
    except (PreferencesError, ValueError) as error:
        raise bad_input(f"{file}: {str(error).splitlines()[0]}") from None


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
    raise bad_input(f"--at: {text!r} is not a time; {hint}")

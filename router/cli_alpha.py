"""`specroute alpha`: what a running service has learned."""

from __future__ import annotations

import json
import time
from typing import Annotated, Final

import typer

from router.admin_client import AdminClient, AdminError, AdminUrlError
from router.alpha_watch import STORE_AWAY, Answer, ServiceError, chosen, table, watch
from router.cli_output import table_console

_ALPHA: Final = "/admin/v1/alpha"
_BAD_INPUT: Final = 2


def alpha(  # noqa: PLR0917 - an option each
    url: Annotated[str, typer.Option(help="The running service.")] = "http://127.0.0.1:8000",
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's own figures.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="At most so many rows, those with the most steps.")] = 60,
    watching: Annotated[bool, typer.Option("--watch", help="Show it again and again, until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks of --watch.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the service's answer as JSON.")] = False,
) -> None:
    """Show acceptance per task, tenant, temperature and profile: its interval, its evidence, the arm in use.

    With --watch also how it changes: the trend compares with five minutes ago, or with the first look where
    that is not so long ago. ↑ and ↓ mean that alpha left the interval it had then.

    Set SPECROUTE_ADMIN_TOKEN when the service has an admin token.

    For example:

    - `specroute alpha --task code`
    - `specroute alpha --watch --tenant acme`
    """
    try:
        client = AdminClient(url)
    except AdminUrlError as error:
        typer.echo(f"specroute: {error}", err=True)
        raise typer.Exit(_BAD_INPUT) from None

    def fetch() -> Answer:
        return chosen(_got(client, url), task=task, tenant=tenant)

    try:
        if watching:
            watch(
                fetch,
                table_console(),
                rows=rows,
                interval_s=interval,
                clock=time.monotonic,
                sleep=time.sleep,
                as_json=as_json,
            )
        else:
            _show(fetch(), rows, as_json=as_json)
    except KeyboardInterrupt:
        return
    except ServiceError as error:
        typer.echo(f"specroute: {error}", err=True)
        raise typer.Exit(1) from None


def _show(answer: Answer, rows: int, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer))
        return
    table_console().print(table(answer, rows))
    if not answer["store_up"]:
        typer.echo(STORE_AWAY, err=True)


def _got(client: AdminClient, url: str) -> Answer:
    try:
        answer = client.call("GET", _ALPHA)
    except AdminError as error:
        raise ServiceError(str(error)) from None
    if "entries" not in answer.body:
        problem = answer.message or f"what answers there is no specroute (status {answer.status})"
        raise ServiceError(f"{url}: {problem}")
    return dict(answer.body)

"""`specroute alpha`: what a running service has learned."""

from __future__ import annotations

import json
import os
import time
from http.client import HTTPException
from typing import Annotated, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import typer

from router.alpha_watch import STORE_AWAY, Answer, ServiceError, chosen, table, watch
from router.cli_output import table_console
from router.settings import ADMIN_TOKEN_VARIABLE

_TIMEOUT_S = 10
_BAD_INPUT = 2


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
    if not _is_http(url):
        typer.echo(f"specroute: --url: {url!r} is no http:// or https:// URL", err=True)
        raise typer.Exit(_BAD_INPUT)
    address = f"{url.rstrip('/')}/admin/v1/alpha"

    def fetch() -> Answer:
        return chosen(_get(address), task=task, tenant=tenant)

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


def _is_http(url: str) -> bool:
    try:
        return urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        return False


def _get(url: str) -> Any:
    request = Request(url)  # noqa: S310 - the scheme was checked
    if token := os.environ.get(ADMIN_TOKEN_VARIABLE):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
            answer = json.load(response)
    except HTTPError as error:
        problem = f"{error.code} {error.reason}: is {ADMIN_TOKEN_VARIABLE} set?"
    except (OSError, HTTPException, ValueError) as error:
        problem = f"{getattr(error, 'reason', error)}: is the service running?"
    else:
        if isinstance(answer, dict) and "entries" in answer:
            return answer
        problem = "what answers there is no specroute"
    raise ServiceError(f"{url}: {problem}")

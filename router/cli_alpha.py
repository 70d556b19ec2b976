"""`specroute alpha`: what a running service has learned."""

from __future__ import annotations

import json
import os
from http.client import HTTPException
from typing import Annotated, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import typer
from rich.table import Table

from router.cli_output import table_console
from router.settings import ADMIN_TOKEN_VARIABLE

_TIMEOUT_S = 10
_BAD_INPUT = 2


def alpha(
    url: Annotated[str, typer.Option(help="The running service.")] = "http://127.0.0.1:8000",
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's own figures.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the service's answer as JSON.")] = False,
) -> None:
    """Show acceptance per task and profile, with its interval and evidence.

    Set SPECROUTE_ADMIN_TOKEN when the service has an admin token.

    Example: specroute alpha --task code
    """
    answer = _get(f"{url.rstrip('/')}/admin/v1/alpha")
    entries = [
        entry for entry in answer["entries"] if entry["tenant"] == tenant and task in {None, entry["task"]}
    ]
    if as_json:
        typer.echo(json.dumps({**answer, "entries": entries}))
        return
    table = Table(
        "task",
        "profile",
        "temperature",
        "alpha",
        "90 % interval",
        "coverage",
        "length",
        "steps",
        "requests",
        box=None,
        pad_edge=False,
    )
    for entry in entries:
        table.add_row(*_cells(entry))
    table_console().print(table if entries else "nothing learned yet: send some requests first")
    if not answer["store_up"]:
        typer.echo("the store does not answer: these are this router's own figures", err=True)


def _cells(entry: dict[str, Any]) -> list[str]:
    interval = entry["interval"]
    return [
        entry["task"],
        entry["profile"],
        entry["temperature"] or "all",
        _number(entry["alpha"]),
        f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "-",
        _number(entry["coverage"][0] if entry["coverage"] else None),
        _number(entry["acceptance_length"]),
        f"{entry['steps']:.0f}",
        str(entry["lifetime"]["requests"]),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _is_http(url: str) -> bool:
    try:
        return urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        return False


def _get(url: str) -> Any:
    if not _is_http(url):
        typer.echo(f"specroute: --url: {url!r} is no http:// or https:// URL", err=True)
        raise typer.Exit(_BAD_INPUT)
    request = Request(url)  # noqa: S310 - the scheme was checked
    if token := os.environ.get(ADMIN_TOKEN_VARIABLE):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
            answer = json.load(response)
        if isinstance(answer, dict) and "entries" in answer:
            return answer
        typer.echo(f"specroute: {url}: what answers there is no specroute", err=True)
    except HTTPError as error:
        typer.echo(f"specroute: {url}: {error.code} {error.reason}: is {ADMIN_TOKEN_VARIABLE} set?", err=True)
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        typer.echo(f"specroute: {url}: {reason}: is the service running?", err=True)
    raise typer.Exit(1)

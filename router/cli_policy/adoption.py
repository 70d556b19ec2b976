"""`specroute policy canary | shadow`: what a running service knows of a policy that is being tried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import typer
from rich.table import Table

from router.cli_output import table_console
from router.cli_policy.asking import Url, asked, refuse
from router.cli_policy.files import AsJson

_FAILED: Final = 1


def canary(url: Url = "http://127.0.0.1:8000", *, as_json: AsJson = False) -> None:
    """Show how the canary fares: its requests, its times beside the policy in force, and the verdict.

    The exit code is 1 where it was stopped or its candidate cannot be used.

    Example: specroute policy canary
    """
    body = _got(url, "/admin/v1/canary")
    if as_json:
        typer.echo(json.dumps(body))
    else:
        _show_canary(body)
    if body["phase"] in {"stopped", "broken"}:
        raise typer.Exit(_FAILED)


def shadow(url: Url = "http://127.0.0.1:8000", *, as_json: AsJson = False) -> None:
    """Show what mode shadow would have saved, as predicted, since the policy last changed.

    Example: specroute policy shadow
    """
    body = _got(url, "/admin/v1/shadow")
    if as_json:
        typer.echo(json.dumps(body))
        return
    if not body["requests"]:
        typer.echo("no requests in mode shadow yet")
        return
    table = Table("task", "requests", "would speculate", "measured", "time saved", box=None, pad_edge=False)
    for entry in (*body["tasks"], {"task": "all", **body}):
        shares = ("speculative_share", "measured_share", "predicted_saving")
        table.add_row(entry["task"], str(entry["requests"]), *(_percent(entry[name]) for name in shares))
    table_console().print(table, markup=False)


def _show_canary(body: Mapping[str, Any]) -> None:
    if body["why"]:
        typer.echo(f"{body['phase']}: {body['why']}")
    if "candidate" not in body:
        if not body["why"]:
            typer.echo("the policy in force has no canary")
        return
    candidate = body["candidate"]
    typer.echo(
        f"{candidate['name']}@{candidate['revision']} beside {body['main']}: {body['phase']}, "
        f"{_percent(body['share'])} by {body['by']}"
    )
    # A router that was told of a stop has compared nothing itself: the record says what was found.
    found = body if "verdict" in body else body["stopped"] or {}
    if "verdict" not in found:
        return
    because = f" ({', '.join(found['because'])})" if found["because"] else ""
    typer.echo(f"verdict: {found['verdict']}{because}\n")
    table = Table("task", "requests", "total time", "decode time", box=None, pad_edge=False)
    for entry in (*found["tasks"], {"task": "all", **found}):
        requests = f"{entry['requests']['candidate']} / {entry['requests']['main']}"
        table.add_row(entry["task"], requests, _ratio(entry["total_time"]), _ratio(entry["decode_time"]))
    table_console().print(table, markup=False)
    for name in ("failed", "cancelled"):
        typer.echo(f"{name}: {found[name]['candidate']} / {found[name]['main']}")


def _got(url: str, path: str) -> Mapping[str, Any]:
    answer = asked(url, lambda client: client.call("GET", path))
    refuse(answer)
    return answer.body


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g} %"


def _ratio(ratio: Mapping[str, float] | None) -> str:
    """A bound that says nothing is left out."""
    if ratio is None or "estimate" not in ratio:
        return "-"
    upper = f"{ratio['upper']:.2f}" if "upper" in ratio else "?"
    return f"{ratio['estimate']:.2f} times ({ratio['lower']:.2f} to {upper})"

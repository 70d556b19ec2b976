"""`specroute policy set-mode | apply | promote | rollback | history`: the policy of a running service."""

from __future__ import annotations

import datetime as dt
import getpass
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final, get_args

import typer
from rich.table import Table

from policies.base import Mode
from policies.problems import choices_hint
from router.admin_client import AdminClient, Answer
from router.cli_output import table_console
from router.cli_policy.asking import Url, asked, problem_line, refuse
from router.cli_policy.files import AsJson, bad_input, file_text
from router.policy_edit import with_mode

_POLICY: Final = "/admin/v1/policy"
_ATTEMPTS: Final = 10
_POLL_S: Final = 0.05
_STALE: Final = 412

Note = Annotated[str, typer.Option(help="Why, for the history.")]
Wait = Annotated[
    float, typer.Option(min=0.0, metavar="SECONDS", help="Longest wait until every router has it in force.")
]


def set_mode(
    mode: Annotated[str, typer.Argument(metavar="MODE", help=", ".join(get_args(Mode)))],
    url: Url = "http://127.0.0.1:8000",
    note: Note = "",
    wait: Wait = 10.0,
    *,
    as_json: AsJson = False,
) -> None:
    """Change spec.mode of a running service, and nothing else: `always_vanilla` is the kill switch.

    Prints how long it took until every router had it in force. `specroute policy rollback` takes it back.

    Example: specroute policy set-mode always_vanilla --note "latency incident 4711"
    """
    modes: Mapping[str, Mode] = {name: name for name in get_args(Mode)}
    if mode not in modes:
        raise bad_input(f"MODE: unknown mode {mode!r}; {choices_hint(mode, tuple(modes))}")
    note = f"set-mode {mode}: {note}" if note else f"set-mode {mode}"

    def edited(client: AdminClient) -> Answer:
        # Somebody else may change the policy between reading and writing: the mode is set in theirs then.
        for _ in range(_ATTEMPTS):
            answer = client.call("GET", _POLICY)
            if not answer.ok:
                break
            text = with_mode(str(answer.body.get("text", "")), modes[mode])
            headers = {"If-Match": answer.etag, **_signed(note)}
            answer = client.call("PUT", _POLICY, text.encode(), headers)
            if answer.status != _STALE:
                break
        return answer

    _change(url, edited, f"mode {mode}", wait, as_json=as_json)


def apply(
    file: Annotated[Path, typer.Argument(help="A policy file.")],
    url: Url = "http://127.0.0.1:8000",
    replacing: Annotated[
        str | None,
        typer.Option(metavar="REVISION", help="Only if this revision is in force. Default: whatever is."),
    ] = None,
    note: Note = "",
    wait: Wait = 10.0,
    *,
    as_json: AsJson = False,
) -> None:
    """Put a policy in force on a running service, on all of its routers.

    Example: specroute policy apply next.yaml --replacing 3f2a9c1b7d40
    """
    text = file_text(file)
    headers = {"If-Match": f'"{replacing}"' if replacing else "*", **_signed(note)}
    _change(
        url,
        lambda client: client.call("PUT", _POLICY, text, headers),
        str(file),
        wait,
        as_json=as_json,
        source=str(file),
    )


def rollback(
    revision: Annotated[
        str | None, typer.Argument(help="As `specroute policy history` lists it; default: the one before.")
    ] = None,
    url: Url = "http://127.0.0.1:8000",
    note: Note = "",
    wait: Wait = 10.0,
    *,
    as_json: AsJson = False,
) -> None:
    """Put an earlier version of the policy in force again.

    Example: specroute policy rollback
    """
    body = json.dumps({"revision": revision} if revision else {}).encode()
    _change(
        url,
        lambda client: client.call("POST", f"{_POLICY}/rollback", body, _signed(note)),
        "rollback",
        wait,
        as_json=as_json,
    )


def promote(
    url: Url = "http://127.0.0.1:8000", note: Note = "", wait: Wait = 10.0, *, as_json: AsJson = False
) -> None:
    """Put the canary's candidate in force, in the place of the policy it was tried beside.

    Example: specroute policy promote
    """
    _change(
        url,
        lambda client: client.call("POST", f"{_POLICY}/promote", b"", _signed(note)),
        "promote",
        wait,
        as_json=as_json,
    )


def history(url: Url = "http://127.0.0.1:8000", *, as_json: AsJson = False) -> None:
    """List the last versions of the policy of a running service, the newest first, and its routers.

    Example: specroute policy history
    """
    answer = asked(url, lambda client: client.call("GET", _POLICY))
    refuse(answer)
    body = answer.body
    if as_json:
        typer.echo(json.dumps({name: body.get(name) for name in ("history", "routers")}))
        return
    versions = Table("version", "policy", "by", "when", "note", box=None, pad_edge=False)
    for past in body.get("history", []):
        when = dt.datetime.fromtimestamp(past["at"]).astimezone().isoformat(" ", "seconds")
        by = " ".join(filter(None, (past["origin"], past["author"] or past["source"])))
        versions.add_row(str(past["version"]), f"{past['name']}@{past['revision']}", by, when, past["note"])
    table_console().print(versions, markup=False)
    routers = Table("router", "in force", "reported", box=None, pad_edge=False)
    for router in body.get("routers", []):
        told = f"version {router['version'] or '-'}, {router['revision']}"
        told += ", rejects a newer one" if router["rejects_newer"] else ""
        routers.add_row(router["id"], told, f"{router['seen_s_ago']:.0f} s ago")
    typer.echo("")
    table_console().print(routers, markup=False)
    if body.get("rejected"):
        typer.echo(f"\nrejected:\n{body['rejected']}", err=True)


def _change(
    url: str,
    change: Callable[[AdminClient], Answer],
    what: str,
    wait_s: float,
    *,
    as_json: bool,
    source: str = "policy",
) -> None:
    """Make a change, wait until every router has it in force, and tell how long that took.

    `source` is what the places of problems are places in.
    """
    began_s = time.monotonic()
    answer = asked(url, change)
    refuse(answer, source)
    for warning in answer.body.get("warnings", []):
        typer.echo(f"warning: {problem_line(source, warning)}", err=True)
    revision = answer.body["revision"]
    waiting, routers = _waiting(answer, revision)
    while waiting and time.monotonic() - began_s < wait_s:
        time.sleep(_POLL_S)
        waiting, routers = _waiting(asked(url, lambda client: client.call("GET", _POLICY)), revision)
    took_s = time.monotonic() - began_s
    label = f"{answer.body['name']}@{revision}"
    if as_json:
        told = {
            "policy": label,
            "version": answer.body["version"],
            "in_force_s": None if waiting else round(took_s, 3),
            "routers": routers,
            "waiting_for": waiting,
        }
        typer.echo(json.dumps(told))
    elif not waiting:
        count = "the router" if routers == 1 else f"all {routers} routers"
        typer.echo(
            f"{what}: {label} (version {answer.body['version']}) in force on {count} after {took_s:.2f} s"
        )
    if waiting:
        message = f"{label} is not in force yet on {', '.join(waiting)}, after {took_s:.1f} s"
        typer.echo(f"specroute: {message}: see `specroute policy history`", err=True)
        raise typer.Exit(1)


def _waiting(answer: Answer, revision: str) -> tuple[list[str], int]:
    """The routers that do not have it in force, and how many there are."""
    routers = answer.body.get("routers", [])
    if not routers:  # the store was away just now: who answered speaks for itself
        return ([] if answer.body.get("revision") == revision else [_POLICY]), 1
    return [router["id"] for router in routers if router["revision"] != revision], len(routers)


def _signed(note: str) -> dict[str, str]:
    try:
        author = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        author = ""
    # Header lines are bytes; the service reads UTF-8.
    signed = {"X-Specroute-Author": author, "X-Specroute-Note": " ".join(note.split())}
    return {name: value.encode().decode("latin-1") for name, value in signed.items() if value}

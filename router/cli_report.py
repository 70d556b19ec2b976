"""`specroute report`: what speculation saved, with proof."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from policies.savings import LoggedTraffic
from policies.units import parse_duration
from router.cli_policy.asking import Url, asked, refuse
from router.cli_policy.files import bad_input
from router.decision_files import DecisionFiles
from router.reporting.markdown import markdown

_DEFAULT_URL: Final = "http://127.0.0.1:8000"
_DEFAULT_WINDOW: Final = "24h"
_NOT_SHOWN: Final = 1


class Format(StrEnum):
    """How the report is written."""

    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


def report(  # noqa: PLR0917 - an option each
    more: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="Further files of --log.")] = None,
    url: Url = _DEFAULT_URL,
    window: Annotated[
        str | None,
        typer.Option(
            help=f"How far back, up to 35d; counted by the hour, from 3 days on by the day. "
            f"[default: {_DEFAULT_WINDOW}; of a log, all of it]"
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    log: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Report on files of the decision log, not on a running service."),
    ] = None,
    output_format: Annotated[Format, typer.Option("--format", help="How it is written.")] = Format.MARKDOWN,
    output: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Report what speculation saved per task and tenant, with intervals from requests that were held out.

    Needs `holdout.share` in the policy. Set SPECROUTE_ADMIN_TOKEN when the service has an admin token. Exit
    code: 0 a saving is shown, 1 there is none or it cannot be told yet, 2 bad input.

    For example:

    - `specroute report --window 7d`
    - `specroute report --tenant acme --format html --output acme.html`
    - `specroute report --log decisions-*.jsonl`
    """
    files = [*(log or []), *(more or [])]
    if more and not log:
        raise bad_input(f"{more[0]}: files are read with --log")
    window_s = _duration(window)
    if files:
        found = _of_log(files, window_s, tenant, task)
    else:
        found = _of_service(url, window or _DEFAULT_WINDOW, tenant, task)
    text = _written(found, Format.JSON if as_json else output_format)
    if output is None:
        typer.echo(text, nl=False)
    else:
        try:
            output.write_text(text, "utf-8")
        except OSError as error:
            raise bad_input(f"--output: cannot write {output}: {error.strerror or error}") from None
    if found["overall"]["verdict"] != "saved":
        raise typer.Exit(_NOT_SHOWN)


def _written(found: Mapping[str, Any], output_format: Format) -> str:
    match output_format:
        case Format.JSON:
            return json.dumps(found) + "\n"
        case Format.HTML:
            from router.reporting.page import page  # noqa: PLC0415 - keeps --help quick

            return page(found) + "\n"
        case Format.MARKDOWN:
            return markdown(found)


def _of_service(url: str, window: str, tenant: str | None, task: str | None) -> Mapping[str, Any]:
    given = {"window": window, "tenant": tenant, "task": task}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    answer = asked(url, lambda client: client.call("GET", f"/admin/v1/report?{query}"))
    refuse(answer)
    return answer.body


def _of_log(
    files: list[Path], window_s: float | None, tenant: str | None, task: str | None
) -> Mapping[str, Any]:
    traffic, read = LoggedTraffic(), DecisionFiles(files)
    try:
        for record in read.records():
            traffic.add(record)
        found = traffic.report(window_s, tenant=tenant, task=task)
    except OSError as error:
        raise bad_input(f"{error.filename}: {error.strerror or error}") from None
    except ValueError as error:
        raise bad_input(
            f"--log: {error} of version 1 ({read.skipped} other lines); the deployment's decision_log.path "
            "writes them"
        ) from None
    if read.skipped:
        found["notes"].append(f"Lines that are no record of version 1: {read.skipped}.")
    return found


def _duration(window: str | None) -> float | None:
    if window is None:
        return None
    try:
        return parse_duration(window)
    except ValueError as error:
        raise bad_input(f"--window: {error}") from None

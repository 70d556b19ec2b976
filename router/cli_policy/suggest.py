"""`specroute policy suggest`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from policies.cost import Calibrated, CalibrationError, parse_calibration
from policies.loading import PolicyError, parse_policy
from policies.suggest import Evidence, EvidenceError, Suggestion, changes, read_evidence, suggest
from policies.yaml_edit import with_values
from router.cli_output import table_console
from router.cli_policy.asking import asked, refuse
from router.cli_policy.files import AsJson, bad_input, file_text, policy_text, refused, source_of

_DEFAULT_URL = "http://127.0.0.1:8000"


def suggest_command(
    file: Annotated[
        Path | None, typer.Argument(help="The policy to change; default: the one in force there.")
    ] = None,
    *,
    url: Annotated[str | None, typer.Option(help=f"The running service; default: {_DEFAULT_URL}.")] = None,
    alpha: Annotated[Path | None, typer.Option(help="A saved answer of GET /admin/v1/alpha.")] = None,
    cost: Annotated[Path | None, typer.Option(help="A saved answer of GET /admin/v1/cost.")] = None,
    requests: Annotated[
        float,
        typer.Option(min=1, help="Requests an engine decodes at once: the more, the dearer drafts are."),
    ] = 1.0,
    patch: Annotated[bool, typer.Option("--patch", help="Print the patch only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Suggest thresholds per task and tenant at the measured break-even, with the evidence, as a patch.

    Set SPECROUTE_ADMIN_TOKEN when the service has an admin token. Apply what --patch prints with `patch`.
    Exit code: 0 there are suggestions or none is needed, 1 too little evidence for any, 2 bad input.

    Example: specroute policy suggest my-policy.yaml --patch > thresholds.patch
    """
    service = _service(url, alpha, cost)
    text = _text(file, service)
    try:
        policy = parse_policy(text, source_of(file))
    except PolicyError as error:
        raise refused(error, as_json=as_json) from None
    made = suggest(policy, *_measured(service, alpha, cost), requests=requests)
    diff = _patch(text.decode("utf-8-sig"), file, made)
    if as_json:
        entries = [row._asdict() for row in made]
        typer.echo(json.dumps({"mode": policy.spec.mode, "suggestions": entries, "patch": diff}))
    elif patch:
        typer.echo(diff, nl=False)
    else:
        _print(made, diff, policy.spec.mode)
    if not any(row.enable_above is not None for row in made):
        if not as_json:
            typer.echo("too little evidence for any suggestion: send more requests first", err=True)
        raise typer.Exit(1)


def _service(url: str | None, alpha: Path | None, cost: Path | None) -> str | None:
    """The URL of the service to ask, None where files answer."""
    if (alpha is None) != (cost is None):
        raise bad_input("--alpha and --cost go together: save the answers of both endpoints")
    if alpha is not None and url is not None:
        raise bad_input("--url: the files of --alpha and --cost answer already")
    return None if alpha is not None else url or _DEFAULT_URL


def _text(file: Path | None, service: str | None) -> bytes:
    if file is not None or service is None:
        return policy_text(file)
    return str(_told(service, "policy").get("text", "")).encode()


def _measured(
    service: str | None, alpha: Path | None, cost: Path | None
) -> tuple[Sequence[Evidence], Mapping[str, Calibrated]]:
    try:
        if service is not None:
            answers: tuple[object, str | bytes] = _told(service, "alpha"), json.dumps(_told(service, "cost"))
        elif alpha is not None and cost is not None:
            answers = json.loads(file_text(alpha)), file_text(cost)
        return read_evidence(answers[0]), parse_calibration(answers[1], str(cost or "GET /admin/v1/cost"))
    except EvidenceError as error:
        raise bad_input(f"{alpha}: {error}" if alpha else str(error)) from None
    except CalibrationError as error:
        raise bad_input(str(error)) from None
    except ValueError as error:
        raise bad_input(f"{alpha}: not JSON: {error}") from None


def _told(service: str, what: str) -> Mapping[str, Any]:
    answer = asked(service, lambda client: client.call("GET", f"/admin/v1/{what}"))
    refuse(answer)
    return answer.body


def _patch(text: str, file: Path | None, made: Sequence[Suggestion]) -> str:
    """A unified diff of the file; empty where nothing is suggested."""
    edited = text
    for path, values in changes(made):
        edited = with_values(edited, path, values)
    name = str(file or "policy.yaml")
    lines = difflib.unified_diff(_lines(text), _lines(edited), name, name)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _print(made: Sequence[Suggestion], diff: str, mode: str) -> None:
    table = Table(
        "task",
        "tenant",
        "pool",
        "alpha",
        "90 % interval",
        "break-even",
        "step plain / drafts",
        "speedup",
        "band now",
        "suggested",
        "why",
        box=None,
        pad_edge=False,
    )
    for row in made:
        table.add_row(*_cells(row))
    table_console().print(table if made else "no acceptance was measured yet")
    if diff:
        typer.echo(f"\n{diff}", nl=False)
    if diff and mode != "threshold":
        typer.echo(f"\nspec.mode is {mode}: bands take effect where the mode is threshold", err=True)


def _cells(row: Suggestion) -> list[str]:
    interval = f"{row.interval[0]:.2f} to {row.interval[1]:.2f}" if row.interval else "-"
    steps = "-" if row.plain_ms is None else f"{row.plain_ms:.1f} / {row.speculative_ms:.1f} ms, k {row.k}"
    band = "-" if row.enable_above is None else f"{row.enable_above:g} / {row.disable_below:g}"
    return [
        row.task,
        row.tenant or "all",
        row.profile or "-",
        "-" if row.alpha is None else f"{row.alpha:.2f}",
        interval,
        "-" if row.break_even is None else f"{row.break_even:.2f}",
        steps,
        "-" if row.speedup is None else f"{row.speedup:.2f}",
        f"{row.current[0]:g} / {row.current[1]:g}",
        band if row.status == "suggested" else row.status,
        row.note,
    ]

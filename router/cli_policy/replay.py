"""`specroute policy replay`: what a candidate policy would have changed, from a decision log."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from policies.off_policy import MEASURES, Clustering, Effect, Interval, Part, Replayed
from policies.off_policy import replay as replayed
from policies.resolve import PolicyTable
from router.cli_output import table_console
from router.cli_policy.files import AsJson, bad_input, loaded
from router.decision_files import DecisionFiles

_CANNOT_TELL: Final = 1
_SHOWN: Final = {"total_s": "time to the last token", "decode_s": "decoding", "tpot_s": "per token"}


def replay(  # noqa: PLR0917 - an option each
    logs: Annotated[list[Path], typer.Argument(metavar="LOG…", help="Files of the decision log.")],
    policy: Annotated[Path, typer.Option(help="The candidate: a policy file.")],
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="How often intervals should cover the truth.")
    ] = 0.95,
    cluster: Annotated[
        Clustering, typer.Option(help="What may go alike, and counts as one in the intervals.")
    ] = "conversation",
    across_k: Annotated[
        bool,
        typer.Option(
            "--across-k",
            help="Take predictions to err alike at every k of a pool: tells more where the candidate picks "
            "other k than the log.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Estimate what a candidate policy would have changed, from the decisions another one logged.

    Every decision is made anew from what the log has of it. Where both policies would have done the same, the
    times that were measured count; what differs is told from requests where chance (exploration, holdout) did
    what the candidate would do. Ends with 1 where the log cannot tell, and says why.

    Example: specroute policy replay decisions-*.jsonl --policy candidate.yaml
    """
    candidate = loaded(policy, as_json=as_json)
    try:
        files = DecisionFiles(logs)
        found = replayed(
            files.records(), PolicyTable(candidate), by=cluster, across_k=across_k, confidence=confidence
        )
    except OSError as error:
        raise bad_input(f"{error.filename}: {error.strerror or error}") from None
    except ValueError as error:
        typer.echo(
            f"specroute: {error} ({files.skipped} lines are no record of version 1, with the chances of all "
            "arms; the deployment's decision_log.path writes them)",
            err=True,
        )
        raise typer.Exit(_CANNOT_TELL) from None
    if as_json:
        typer.echo(json.dumps(_entry(found, skipped=files.skipped, confidence=confidence)))
    else:
        _print(found, files.skipped, confidence, candidate.metadata.name, across_k=across_k)
    if not found.tells:
        raise typer.Exit(_CANNOT_TELL)


def _print(found: Replayed, skipped: int, confidence: float, name: str, *, across_k: bool) -> None:
    first, last = (dt.datetime.fromtimestamp(at_s).astimezone() for at_s in (found.first_s, found.last_s))
    typer.echo(
        f"{found.overall.requests} decisions of {found.routers} router(s), {first:%Y-%m-%d %H:%M} to "
        f"{last:%Y-%m-%d %H:%M}; candidate: {name}\n"
    )
    table = Table(
        *("", "requests", "", "log", "candidate", f"change ({confidence:.0%} interval)"),
        box=None,
        pad_edge=False,
    )
    for part_name, part in [("all", found.overall), *found.tasks.items()]:
        for row in _rows(part_name, part):
            table.add_row(*row)
    table_console().print(table)
    typer.echo(
        "\nEach request by itself, in the situations the log met: a candidate in force for all would also "
        "change the load."
    )
    for fate, number in found.left_out.items():
        typer.echo(f"without a time to learn from: {number} {fate}")
    if skipped:
        typer.echo(f"lines that are no record of version 1: {skipped}")
    for note in found.notes:
        typer.echo(f"note: {note}")
    for part_name, part in [("all", found.overall), *found.tasks.items()]:
        for doubt in part.doubts:
            typer.echo(f"the log cannot tell the latency of {part_name}: {doubt}", err=True)
    if not found.tells and not across_k:
        typer.echo("hint: --across-k may tell more; exploration and holdout in the policy do", err=True)


def _rows(name: str, part: Part) -> Iterator[tuple[str, ...]]:
    share = part.speculative
    yield (
        name,
        str(part.requests),
        "speculative",
        f"{share.logged:.1%}",
        f"{share.logged + share.change.estimate:.1%}",
        _percent(share.change),
    )
    for measure in MEASURES:
        effect = part.measures.get(measure)
        if effect is None:
            continue
        if part.doubts:
            yield "", "", _SHOWN[measure], _seconds(effect.logged), "?", "the log cannot tell"
        else:
            after = _seconds(effect.logged + effect.change.estimate)
            yield "", "", _SHOWN[measure], _seconds(effect.logged), after, _percent(effect.relative)


def _percent(interval: Interval) -> str:
    return f"{interval.estimate:+.1%} ({interval.low:+.1%} to {interval.high:+.1%})"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def _entry(found: Replayed, *, skipped: int, confidence: float) -> dict[str, Any]:
    """The answer as JSON; numbers that are not finite are null."""
    return {
        "tells": found.tells,
        "confidence": confidence,
        "overall": _part_entry(found.overall),
        "tasks": {task: _part_entry(part) for task, part in found.tasks.items()},
        "left_out": dict(found.left_out),
        "skipped_lines": skipped,
        "notes": list(found.notes),
    }


def _part_entry(part: Part) -> dict[str, Any]:
    return {
        "requests": part.requests,
        "tells": not part.doubts,
        "doubts": list(part.doubts),
        "speculative_share": {
            "logged": part.speculative.logged,
            "change": _finite(part.speculative.change._asdict()),
        },
        "measures": {measure: _effect_entry(effect) for measure, effect in part.measures.items()},
    }


def _effect_entry(effect: Effect) -> dict[str, Any]:
    return {
        **_finite(effect._asdict()),
        "change": _finite(effect.change._asdict()),
        "relative": _finite(effect.relative._asdict()),
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and abs(value) == float("inf") else value
        for name, value in values.items()
    }

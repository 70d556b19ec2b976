"""What measured drafters come to: every method by task, what the router makes of several, a refresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench.calibrated_start import SIDES
from bench.methods import tables
from bench.methods.pools import markdown as pools_markdown
from bench.report.tables import table, word
from bench.results import Document

COMMANDS: Final = {
    "methods": "python -m bench.methods",
    "pools": "python -m bench.methods.pools",
    "refresh": "python -m bench.refresh_after_drift",
    "calibrated-start": "python -m bench.calibrated_start",
}
"""What measures them, where it is no `specroute bench`."""


def methods(document: Document) -> str:
    """The tables of `python -m bench.methods`."""
    settings = document["settings"]
    return (
        f"Answers of up to {settings['max_tokens']} tokens.\n\n{tables.markdown(document['rows'])}".rstrip()
    )


def pools(document: Document) -> str:
    """The table of `python -m bench.methods.pools`."""
    settings = document["settings"]
    head = (
        f"After {settings['warm_up']} requests for the router to learn from; answers of up to "
        f"{settings['max_tokens']} tokens."
    )
    return f"{head} {pools_markdown(document['rows'], document['overall'])}".rstrip()


def refresh(document: Document) -> str:
    """The comparisons of `python -m bench.refresh_after_drift`."""
    rows = [
        _compared("stale → refreshed", document["refresh"], promoted=document["promoted"]),
        _compared("refreshed → stale again", document["worse"], promoted=document["worse_promoted"]),
    ]
    if document["native"] is not None:
        rows.append(_compared("stale → learned from the new style alone", document["native"], promoted=None))
    before, after = (", ".join(document[style]) for style in ("before", "after"))
    tokens, share = document["answer_tokens"], document["restored_share"]
    restored = "" if share is None else f" The refresh brought {share:.0%} of the lost length back."
    columns = ["drafters", "tokens per step", "gain", "alpha by position, old", "new", "promoted"]
    return (
        f"Learned from {tokens['before']:,} answer tokens of {before}; refreshed with {tokens['after']:,} of "
        f"{after}; compared on {document['refresh']['answers']} answers of the latter that neither learned "
        f"from.{restored}\n\n{table(rows, [(name, word(name)) for name in columns])}"
    )


def calibrated_start(document: Document) -> str:
    """The rows of `python -m bench.calibrated_start`."""
    rows = document["rows"]
    sides = [side for side in SIDES if side in rows[0]]
    counts = [sum(row[key] for row in rows) for key in ("same_route", "same_k", "as_reported")]
    differ = sum(row.get("warmed_differ", False) for row in rows)
    chance = f" (two warmed ones take different routes for {differ})" if "again" in sides else ""
    others = [row for row in rows if not row["as_reported"]]
    called = sum(row.get("close", False) for row in others)
    close = f", and it calls {called} of the others close" if others else ""
    told = [
        {"prompts of": row["domain"], "task": row["task"], "report": _reported(row)}
        | {side: _arm(row[side]) for side in sides}
        for row in rows
    ]
    columns = ["prompts of", "task", *sides, "report"]
    return (
        f"Of {len(rows)} domains the fresh service took the warmed one's route for {counts[0]}{chance} and "
        f"its k for {counts[1]}; under the recommended policy {counts[2]} went where the report says{close}. "
        f"In brackets: the speedup each expected of drafts.\n\n"
        f"{table(told, [(name, word(name)) for name in columns])}"
    )


def _reported(row: Mapping[str, Any]) -> str:
    close = ", close" if row.get("close") else ""
    return f"{row['reported'] or '(task unknown)'}{close}"


def _arm(decision: Mapping[str, Any]) -> str:
    """With what drafts should bring, on a plain arm those that were compared."""
    arm = f"{decision['profile']} k={decision['k']}" if decision["k"] else "plain"
    speedup = decision.get("expected_speedup")  # earlier results lack it
    return arm if speedup is None else f"{arm} ({speedup:.2f})"


def _compared(name: str, found: Mapping[str, Any], *, promoted: bool | None) -> dict[str, str]:
    length = found["length"]
    return {
        "drafters": name,
        "tokens per step": f"{length['old']:.2f} → {length['new']:.2f}",
        "gain": f"{length['gain']:+.2f} [{length['low']:+.2f}, {length['high']:+.2f}]",
        "alpha by position, old": _alphas(found["alpha_by_position"], "old"),
        "new": _alphas(found["alpha_by_position"], "new"),
        "promoted": "" if promoted is None else "yes" if promoted else "no, refused",
    }


def _alphas(positions: Sequence[Mapping[str, float | None]], which: str) -> str:
    return " ".join("-" if (value := one[which]) is None else f"{value:.2f}" for one in positions)

"""The savings report: what is claimed of everybody, of each task and of each tenant; as JSON has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from policies.savings.claims import NEEDED, Claim, Traffic, claim
from policies.savings.estimate import Interval
from policies.savings.saving import Saving
from policies.savings.sums import OTHERS, Cell, Sums, Tally

CONFIDENCE: Final = 0.95
OTHER_TENANTS: Final = "(others)"
"""Tenants that are not counted by name; no tenant can be called so."""

_DIGITS: Final = 6
_LOSS_DEVIATIONS: Final = 3.0
_LOSS_SHARE: Final = 0.01
_MANY: Final = 2


class Scope(NamedTuple):
    """What a report is about.

    Attributes:
        window_s: The window that was asked for.
        since_s: Where the counted hours begin, in seconds since 1970.
        until_s: Where they end.
        began_s: When the first request came that is counted; None where there is none.
        share: The holdout share at present.
        tenant: The only tenant, None for all.
        task: The only task, None for all.
        source: `store`, or `log`.
        store_up: Whether everything that was counted could be read.
    """

    window_s: float
    since_s: float
    until_s: float
    began_s: float | None
    share: float
    tenant: str | None = None
    task: str | None = None
    source: str = "store"
    store_up: bool = True


def report(
    cells: Mapping[Cell, Sums],
    scope: Scope,
    *,
    capacity: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """The report's JSON, as docs/report.md describes it."""
    chosen = {
        cell: sums
        for cell, sums in cells.items()
        if scope.tenant in {None, cell.tenant} and scope.task in {None, cell.task}
    }
    began_s = scope.until_s if scope.began_s is None else max(scope.since_s, scope.began_s)
    traffic = Traffic(scope.until_s - began_s, scope.share)
    overall = claim(chosen, traffic, confidence=confidence)
    parts = {
        name: [
            {name: OTHER_TENANTS if key == OTHERS else key, **claim_entry(found)}
            for key, found in _divided(chosen, key_of, traffic, confidence)
        ]
        for name, key_of in (("task", _task_of), ("tenant", _tenant_of))
    }
    held, routed = overall.tallies["holdout"], overall.tallies["routed"]
    return {
        "since": scope.since_s,
        "until": scope.until_s,
        "window_s": scope.window_s,
        "tenant": scope.tenant,
        "task": scope.task,
        "confidence": confidence,
        "source": scope.source,
        "store_up": scope.store_up,
        "holdout": {
            "share": scope.share,
            "requests": int(held.requests),
            "expected": _rounded(held.share + routed.share),
        },
        "overall": claim_entry(overall),
        "tasks": parts["task"],
        "tenants": parts["tenant"],
        "capacity": dict(capacity) if capacity is not None else None,
        "notes": [*_notes(overall, parts, confidence), *notes],
    }


def claim_entry(found: Claim) -> dict[str, Any]:
    """A claim as JSON has it; what is not claimed is null."""
    whole, held, routed = found.whole, found.tallies["holdout"], found.tallies["routed"]
    decode = found.decode
    return {
        "requests": int(whole.requests),
        "routed_requests": int(routed.requests),
        "holdout_requests": int(held.requests),
        "other_requests": int(found.tallies["other"].requests),
        "explored_requests": int(routed.explored),
        "lost": {"routed": int(routed.lost), "holdout": int(held.lost)},
        "speculative_share": _rounded(routed.speculative / routed.requests) if routed.requests else None,
        "output_tokens": int(whole.output_tokens),
        "taken_s": _rounded(routed.decode_s),
        "vanilla_s": _rounded(decode.vanilla_s) if decode else None,
        **_saving_entry(decode),
        "saved_share": _rounded(decode.share) if decode else None,
        "saved_share_interval": _interval(decode.share_interval) if decode else None,
        "completion": {"taken_s": _rounded(routed.completion_s), **_saving_entry(found.completion)}
        if found.completion
        else None,
        "passes_saved": int(whole.accepted),
        "passes_made": int(whole.steps),
        "verdict": found.verdict,
        "note": found.note,
        "holdout_needed": NEEDED,
        "hours_to_tell": _rounded(found.hours_to_tell) if found.hours_to_tell is not None else None,
    }


def _divided(
    cells: Mapping[Cell, Sums], key_of: Callable[[Cell], str], traffic: Traffic, confidence: float
) -> list[tuple[str, Claim]]:
    """A claim for each part that has requests, the one with the most decode time first."""
    parts: dict[str, dict[Cell, Sums]] = {}
    for cell, sums in cells.items():
        parts.setdefault(key_of(cell), {})[cell] = sums
    claims = [(key, claim(part, traffic, confidence=confidence)) for key, part in parts.items()]
    claims = [(key, found) for key, found in claims if found.whole.requests]
    return sorted(claims, key=lambda one: (-one[1].whole.decode_s, one[0]))


def _notes(overall: Claim, parts: Mapping[str, list[dict[str, Any]]], confidence: float) -> list[str]:
    notes = []
    if sum(part["speedup"] is not None for found in parts.values() for part in found) >= _MANY:
        notes.append(
            f"The overall figure is the result. Each task and tenant has a {confidence:.0%} interval of its "
            f"own: of many, about one in {1 / (1 - confidence):.0f} misses."
        )
    if note := _unlike_losses(overall.tallies["holdout"], overall.tallies["routed"]):
        notes.append(note)
    return notes


def _unlike_losses(held: Tally, routed: Tally) -> str:
    """Whether one group lost more of its requests, whose times are then missing."""
    groups = [(tally.lost, tally.requests + tally.lost) for tally in (held, routed)]
    if not all(requests for _, requests in groups):
        return ""
    pooled = sum(lost for lost, _ in groups) / sum(requests for _, requests in groups)
    deviation = math.sqrt(pooled * (1 - pooled) * sum(1 / requests for _, requests in groups))
    plainly, otherwise = (lost / requests for lost, requests in groups)
    if abs(plainly - otherwise) <= max(_LOSS_SHARE, _LOSS_DEVIATIONS * deviation):
        return ""
    return (
        f"Of the requests held out {plainly:.1%} were cancelled or failed, of the others {otherwise:.1%}: "
        "their times are missing, which may move the figures."
    )


def _saving_entry(saving: Saving | None) -> dict[str, Any]:
    return {
        "saved_s": _rounded(saving.saved_s) if saving else None,
        "saved_s_interval": _interval(saving.saved_s_interval) if saving else None,
        "speedup": _rounded(saving.speedup) if saving else None,
        "speedup_interval": _interval(saving.speedup_interval) if saving else None,
    }


def _interval(interval: Interval | None) -> list[float] | None:
    return [_rounded(interval.low), _rounded(interval.high)] if interval is not None else None


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _task_of(cell: Cell) -> str:
    return cell.task


def _tenant_of(cell: Cell) -> str:
    return cell.tenant

"""The capacity statement, in words and as JSON has it."""

from __future__ import annotations

import math
from typing import Any

from policies.decide import Work
from policies.savings.capacity import BreakEven, Capacity


def capacity_entry(found: Capacity, work: Work, *, confidence: float) -> dict[str, Any]:
    """The statement and what it stands on, as docs/report.md describes it."""
    whole = found.whole
    return {
        **_entry(whole),
        "max_num_seqs": found.slots,
        "statement": statement(found, confidence=confidence),
        "basis": {
            "steps": round(found.evidence_steps),
            "output_tokens": round(work.output_tokens, 1),
            "prompt_tokens": round(work.prompt_tokens, 1),
        },
        "tasks": [{"task": task, **_entry(one)} for task, one in sorted(found.tasks.items(), key=_order)],
    }


def statement(found: Capacity, *, confidence: float) -> str:
    """One sentence: from which load on plain decoding alone would be faster."""
    whole = found.whole
    arm = f"{whole.profile} with k = {whole.k}"
    match whole.status:
        case "unknown":
            return "No capacity statement yet: no drafts, or no passes, were measured."
        case "never":
            bound = whole.batch_interval[0] if whole.batch_interval else None
            sure = "" if bound is None else f" ({confidence:.0%} interval: from {bound} on, or never)"
            return (
                f"Up to the {found.slots} requests an engine decodes at once, plain decoding alone is never "
                f"faster than {arm}{sure}."
            )
        case "always":
            return f"Plain decoding alone is faster than {arm} at every load."
        case "from":
            return (
                f"From {whole.batch} requests at once per engine on{_between(whole, confidence)}, "
                f"{whole.requests_per_s or 0.0:.3g} requests per second and engine, plain decoding alone "
                f"would be faster than {arm}."
            )


def _between(whole: BreakEven, confidence: float) -> str:
    if whole.batch_interval is None:
        return ""
    low, high = ("never" if bound is None else str(bound) for bound in whole.batch_interval)
    return f" ({confidence:.0%} interval: {low} to {high})"


def _entry(one: BreakEven) -> dict[str, Any]:
    return {
        "status": one.status,
        "batch": one.batch,
        "batch_interval": list(one.batch_interval) if one.batch_interval is not None else None,
        "requests_per_s": None if one.requests_per_s is None else float(f"{one.requests_per_s:.4g}"),
        "profile": one.profile,
        "k": one.k,
    }


def _order(item: tuple[str, BreakEven]) -> tuple[float, str]:
    return (item[1].batch or math.inf if item[1].status != "unknown" else math.inf), item[0]

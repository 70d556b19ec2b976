"""What the figures say, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

from router.demo.figures import Figures, TaskFigures, Totals
from router.demo.words import listed, percent

_MOSTLY = 0.5
_FEW_PAIRS = 10


def learned(result: Figures) -> list[str]:
    """One sentence on what was routed where, one on what that was worth, and one on what failed."""
    return [
        sentence
        for sentence in (_routing(result.tasks), _worth(result), _failures(result.totals))
        if sentence is not None
    ]


def _routing(tasks: Sequence[TaskFigures]) -> str:
    known = [
        (task, task.first_chosen_share, task.second_chosen_share)
        for task in tasks
        if task.first_chosen_share is not None and task.second_chosen_share is not None
    ]
    groups = {
        "moved to speculation": [t for t, was, now in known if was < _MOSTLY <= now],
        "went back to plain decoding": [t for t, was, now in known if now < _MOSTLY <= was],
        "stayed on speculation": [t for t, was, now in known if was >= _MOSTLY and now >= _MOSTLY],
        "stayed on plain decoding": [t for t, was, now in known if was < _MOSTLY and now < _MOSTLY],
    }
    said = [f"{listed([task.task for task in group])} {what}" for what, group in groups.items() if group]
    if not said:
        return "Nothing was learned: no task was answered in both passes."
    changed = len(groups["moved to speculation"]) + len(groups["went back to plain decoding"])
    return f"{'Learned' if changed else 'No route changed'}: {'; '.join(said)}."


def _worth(result: Figures) -> str | None:
    totals = result.totals
    second, first = totals.second_ratio, totals.first_ratio
    if result.baseline == "none" and totals.second_share is not None:
        return (
            "What that saves is not known: the service does not let requests choose vanilla (policy: "
            "allow_overrides), and none ran vanilla by itself."
        )
    if second is None:
        return None
    plain = (
        "of what plain decoding took for the same prompts"
        if result.baseline == "paired"
        else "of the time at the vanilla speed this run happened to see, which is no paired comparison"
    )
    between = totals.second_interval
    spread = f" (90 % interval {percent(between[0])} to {percent(between[1])})" if between else ""
    before = f", the first pass {percent(first)}" if first is not None else ""
    return f"Decoding in the second pass took {percent(second)}{spread} {plain}{before}: {_verdict(totals)}."


def _verdict(totals: Totals) -> str:
    second, between = totals.second_ratio, totals.second_interval
    if second is None or between is None or totals.compared < _FEW_PAIRS:
        return "too few prompts to say more"
    low, high = between
    if low <= 1 <= high:
        return "no gain that stands out from chance"
    if low > 1:
        return f"nothing was gained, it cost {percent(second - 1)}"
    return f"{percent(1 - second)} of the decode time saved"


def _failures(totals: Totals) -> str | None:
    if not totals.failed:
        return None
    return f"{totals.failed} of {totals.requests} requests failed and count only as such."

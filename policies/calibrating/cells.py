"""What a calibration knows of acceptance, as the cells that a router starts from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from policies.acceptance import pooled
from policies.calibrating.measured import Measured
from policies.cells import CellKey
from policies.evidence import counters


def cells(measured: Sequence[Measured], *, top_p: float) -> dict[CellKey, dict[str, float]]:
    """The counters of every tenant's cell: those the engines counted, and those that replays did.

    A prompt that was answered r times for a cell (on several k, in several batches) is one prompt: each of
    its answers weighs 1 / r, as prompts are what acceptance differs between. Answers with another `top_p`
    stay out, since cells do not tell one from another.
    """
    gathered: dict[CellKey, dict[str, list[Mapping[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for one in measured:
        if one.side.top_p == top_p:
            for key, counts in _shown(one):
                gathered[key][one.prompt].append(counts)
    return {key: one_per_prompt(by_prompt) for key, by_prompt in gathered.items()}


def one_per_prompt(by_prompt: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """The counters of answers, added up as if each prompt had one answer: the mean of its answers."""
    return pooled(
        {name: count / len(answers) for name, count in counts.items()}
        for answers in by_prompt.values()
        for counts in answers
    )


def _shown(one: Measured) -> Iterator[tuple[CellKey, Mapping[str, float]]]:
    """The cells one answer is evidence for."""
    if one.k and one.steps.problem() is None:
        yield one.cell(one.profile), counters(one.steps)
    for profile, counts in one.replays.items():
        yield one.cell(profile).of_replays(), counts

"""What the answers of a domain on one side showed: tokens per step, times, their ratio to plain decoding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from policies.acceptance import pooled
from policies.calibrating.averages import Average, Pair, length, middle, per_unit, share
from policies.calibrating.cells import one_per_prompt
from policies.calibrating.figures import Figure, mean_ratio
from policies.calibrating.measured import Measured, Side
from policies.evidence import counters


class SideResult(NamedTuple):
    """All answers of a domain on one side.

    Attributes:
        side: What was asked for.
        requests: Answers that were decoded so.
        elsewhere: Answers that the service decoded on another pool or with another k; they do not count here.
        steps: Target passes.
        acceptance_length: Tokens per step; of plain decoding None.
        draft_acceptance_rate: Accepted over proposed draft tokens, as vLLM reports it.
        tpot_ms: Decode time per token, over all answers together.
        ttft_ms: The median time to the first token.
        tpot_ratio: Time per token over that of plain decoding, sampled the same way and with the same batch,
            prompt by prompt: below 1 is faster. Plain decoding is that of the pool without a drafter, where
            there is one.

    A prompt that was asked several times counts once in acceptance, and what was decoded at once counts once
    in the intervals of times.
    """

    side: Side
    requests: int
    elsewhere: int
    steps: int
    acceptance_length: Average | None
    draft_acceptance_rate: Figure | None
    tpot_ms: Average | None
    ttft_ms: Average | None
    tpot_ratio: Figure | None


def side_result(side: Side, answers: Sequence[Measured], plain: Sequence[Measured]) -> SideResult:
    """The result of the `answers` that were asked for on a side, beside those of `plain` decoding."""
    as_asked = [one for one in answers if one.as_asked]
    by_prompt: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for one in as_asked:
        if one.steps.problem() is None:
            by_prompt[one.prompt].append(counters(one.steps))
    return SideResult(
        side=side,
        requests=len(as_asked),
        elsewhere=len(answers) - len(as_asked),
        steps=sum(len(one.accepted) for one in as_asked),
        acceptance_length=length(one_per_prompt(by_prompt), side.k),
        draft_acceptance_rate=share(_drafts(as_asked)),
        tpot_ms=per_unit(_decoding(as_asked)),
        ttft_ms=_first_token(as_asked),
        tpot_ratio=_ratio(side, as_asked, plain),
    )


def counts_of(measured: Iterable[Measured]) -> dict[str, float]:
    """The counters of answers, added up; answers whose steps cannot be true are left out."""
    return pooled(counters(one.steps) for one in measured if one.steps.problem() is None)


def _drafts(answers: Sequence[Measured]) -> list[Pair]:
    """Accepted and proposed draft tokens of each prompt, in the mean of its answers."""
    by_prompt: dict[str, list[Pair]] = defaultdict(list)
    for one in answers:
        if one.steps.problem() is None:
            by_prompt[one.prompt].append((sum(one.accepted), sum(one.drafted)))
    means = [(fmean(y for y, _ in own), fmean(x for _, x in own)) for own in by_prompt.values()]
    return [(y, x) for y, x in means if x > 0]


def _decoding(answers: Sequence[Measured]) -> list[Pair]:
    """Milliseconds and tokens of what was decoded at once."""
    at_once: dict[object, Pair] = {}
    for one in answers:
        if one.tpot_s is not None:
            ms, tokens = at_once.get(one.occasion, (0.0, 0.0))
            at_once[one.occasion] = ms + 1000 * one.decode_s, tokens + one.tokens - 1
    return list(at_once.values())


def _first_token(answers: Sequence[Measured]) -> Average | None:
    at_once: dict[object, list[float]] = defaultdict(list)
    for one in answers:
        at_once[one.occasion].append(1000 * one.ttft_s)
    return middle([fmean(own) for own in at_once.values()])


def _ratio(side: Side, answers: Sequence[Measured], plain: Sequence[Measured]) -> Figure | None:
    """Over plain decoding of the same prompts, sampled the same way, with the same batch."""
    if any(one.side == side for one in plain):
        return None
    plain_s = _times(one for one in plain if one.side[2:] == side[2:])
    own_s = _times(answers)
    return mean_ratio([own_s[prompt] / plain_s[prompt] for prompt in own_s if prompt in plain_s])


def _times(answers: Iterable[Measured]) -> dict[str, float]:
    """The time per token of each prompt, over its answers."""
    seconds: dict[str, float] = defaultdict(float)
    tokens: dict[str, int] = defaultdict(int)
    for one in answers:
        if one.tpot_s is not None:
            seconds[one.prompt] += one.decode_s
            tokens[one.prompt] += one.tokens - 1
    return {prompt: seconds[prompt] / tokens[prompt] for prompt in tokens}

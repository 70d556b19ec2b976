"""What a drafter that copies would have proposed for a finished answer, at every k.

An n-gram drafter reads nothing but the tokens so far, and the answer says which of its proposals the target
would have accepted. So every step that an answer would have taken follows from its token ids, whichever pool
wrote it:

- The draft behind a text is what followed the earliest earlier occurrence of its longest repeated ending, as
  in vLLM's `NgramProposer`. It depends on the text alone, hence is found once for all k.
- A draft token is accepted if and only if it is the answer's next token. For greedy answers that is the rule.
  It holds for sampled ones: the target accepts a copied token x with its own probability p(x), and samples
  from the rest otherwise, so x is accepted exactly when the target emits x. Penalties and grammars change p.
- Steps are logged as the engine's are (replicas/scheduler.py): the first token comes of reading the prompt,
  and the last step is clipped to the tokens that were kept.

What the text does not say is left out: neighbours in a batch (a preempted request loses a draft, and so does
every request while one of the batch is about to reach the model's length), and drafts that a grammar forbids,
which the engine cuts before it verifies them. Those are never accepted, so only `drafted` is larger here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from policies.evidence import MAX_POSITIONS, RequestSteps
from policies.evidence import counters as evidence_counters

Tokens = Sequence[int] | npt.NDArray[np.integer]
_Ints = npt.NDArray[np.int64]

_POSITION_NAMES = ("reached:", "proposed:", "accepted:")


class Lookup(NamedTuple):
    """Lengths, in tokens, of the endings a drafter looks up (vLLM's `prompt_lookup_min` and `…_max`)."""

    shortest: int
    longest: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """One answer's steps at k = 1, 2, … `len(requests)`."""

    requests: tuple[RequestSteps, ...]

    def counters(self) -> dict[str, float]:
        """The decaying counters this answer adds to the cells of a copying profile's replays.

        `requests`; for every k `steps:<k>`, `tokens:<k>`, `drafted:<k>`, `proposing:<k>` (steps with a draft)
        and the request moments `requests:<k>`, `xx:<k>`, `xy:<k>`, `yy:<k>` of x steps and y accepted tokens
        (see `policies.evidence.Cluster`); per position i of the largest k `reached:<i>`, `proposed:<i>`,
        `accepted:<i>`. Zeros are left out.
        """
        counts: dict[str, float] = {"requests": 1}
        for steps in self.requests:
            k, x, y = steps.k, steps.steps, steps.accepted
            if not x:
                continue
            counts |= {
                f"steps:{k}": x,
                f"tokens:{k}": steps.decode_tokens,
                f"drafted:{k}": steps.drafted,
                f"proposing:{k}": sum(drafted > 0 for drafted in steps.per_step_drafted),
                f"requests:{k}": 1,
                f"xx:{k}": x * x,
                f"xy:{k}": x * y,
                f"yy:{k}": y * y,
            }
        for name, count in evidence_counters(self.requests[-1]).items():
            if name.startswith(_POSITION_NAMES):
                counts[name] = count
        return {name: count for name, count in counts.items() if count}


def replay(prompt: Tokens, answer: Tokens, lookup: Lookup, max_k: int, *, max_model_len: int) -> Replayed:
    """The steps of `answer` behind `prompt` on an n-gram engine with k = 1 … `max_k`.

    `max_k` is the engine's `num_speculative_tokens`, `max_model_len` its limit on prompt and answer together.
    O(n log n) in tokens for each length of the lookup, and O(answer) for each k.

    Raises:
        ValueError: Settings that no engine has.
    """
    return Replayed(tuple(replay_each(prompt, answer, lookup, max_k, max_model_len=max_model_len)))


def replay_each(
    prompt: Tokens, answer: Tokens, lookup: Lookup, max_k: int, *, max_model_len: int
) -> Iterator[RequestSteps]:
    """As `replay`, one k at a time: who shares a processor can let others in between.

    Raises:
        ValueError: Settings that no engine has.
    """
    if not 1 <= lookup.shortest <= lookup.longest:
        raise ValueError(f"no lookup has lengths {lookup.shortest} to {lookup.longest}")
    if not 1 <= max_k <= MAX_POSITIONS:
        raise ValueError(f"max_k {max_k} is outside 1..{MAX_POSITIONS}")
    drafts = _drafts(prompt, answer, lookup, max_k, max_model_len)
    return (_walked(drafts, k, max_k) for k in range(1, max_k + 1))


@dataclass(frozen=True, slots=True)
class _Drafts:
    """For every number of answer tokens already there, what the drafter offers next."""

    prompt_tokens: int
    answer: list[int]
    max_model_len: int
    offered: list[int]
    """Draft tokens, were k unlimited."""
    right: list[int]
    """How many of the first `max_k` of them the answer goes on with."""
    next_offer: list[int]
    """The next place, from this one on, where anything is offered; the answer's end where there is none."""


def _drafts(prompt: Tokens, answer: Tokens, lookup: Lookup, max_k: int, max_model_len: int) -> _Drafts:
    tokens = np.concatenate([np.asarray(prompt, dtype=np.int64), np.asarray(answer, dtype=np.int64)])
    total, start = len(tokens), len(prompt)
    ends = np.arange(start, total)
    sources = _sources(tokens, lookup)[start:total]
    # The engine leaves room for the target's own token when it comes near the model's length.
    offered = np.where(sources > 0, np.minimum(ends - sources, max_model_len - ends - 1).clip(0), 0)
    right = np.zeros_like(offered)
    alive = np.flatnonzero(offered)
    for ahead in range(max_k):
        alive = alive[(offered[alive] > ahead) & (ends[alive] + ahead < total)]
        alive = alive[tokens[sources[alive] + ahead] == tokens[ends[alive] + ahead]]
        right[alive] += 1
    places = np.where(offered > 0, ends - start, total - start)
    next_offer = np.minimum.accumulate(places[::-1])[::-1]
    return _Drafts(
        prompt_tokens=start,
        answer=tokens[start:].tolist(),
        max_model_len=max_model_len,
        offered=offered.tolist(),
        right=right.tolist(),
        next_offer=next_offer.tolist(),
    )


def _sources(tokens: _Ints, lookup: Lookup) -> _Ints:
    """For every n, where the draft behind tokens[:n] is copied from; 0 where nothing is proposed.

    That is the place behind the earliest earlier occurrence of the longest ending of tokens[:n] that has one,
    among the lookup's lengths. Occurrences may overlap the ending itself.
    """
    sources = np.zeros(len(tokens) + 1, dtype=np.int64)
    _, first, letters = np.unique(tokens, return_index=True, return_inverse=True)
    grams = letters  # grams[i] numbers the n-gram that begins at i, first[number] is where it begins first
    for length in range(1, min(lookup.longest, len(tokens) - 1) + 1):
        if length > 1:
            pairs = grams[:-1] * len(tokens) + letters[length - 1 :]
            _, first, grams = np.unique(pairs, return_index=True, return_inverse=True)
        if length >= lookup.shortest:
            earliest = first[grams]
            repeated = np.flatnonzero(earliest < np.arange(len(grams)))
            if not len(repeated):
                break  # what does not repeat is part of nothing longer that does
            sources[repeated + length] = earliest[repeated] + length
    return sources


def _walked(drafts: _Drafts, k: int, engine_k: int) -> RequestSteps:
    """The steps of the whole answer with cap `k`, on an engine whose own limit is `engine_k`."""
    offered, right, next_offer = drafts.offered, drafts.right, drafts.next_offer
    start, end = drafts.prompt_tokens, len(drafts.answer)
    # vLLM asks its drafter only after a step whose tokens, drafts included, leave it room for engine_k more.
    room = drafts.max_model_len - engine_k - start
    drafted: list[int] = []
    accepted: list[int] = []
    place, reached = 1, 0
    while place < end and reached <= room:
        if plain := min(next_offer[place], room + 2) - place:
            drafted += [0] * plain
            accepted += [0] * plain
            place += plain
            reached = place - 1
            continue
        verified = min(offered[place], k)
        kept = min(right[place], verified)
        reached = place + verified
        if kept >= end - place:
            verified = kept = end - place - 1
        drafted.append(verified)
        accepted.append(kept)
        place += kept + 1
    _walk_to_the_limit(drafts, k, place, drafted, accepted)
    return RequestSteps(k, drafted, accepted)


def _walk_to_the_limit(drafts: _Drafts, k: int, place: int, drafted: list[int], accepted: list[int]) -> None:
    """The steps from `place` on, where drafts no longer fit the model's length: vLLM verifies zeros then."""
    answer, end = drafts.answer, len(drafts.answer)
    while place < end:
        verified = max(0, min(k, drafts.max_model_len - drafts.prompt_tokens - place - 1))
        kept = 0
        while kept < verified and place + kept < end and answer[place + kept] == 0:
            kept += 1
        if kept >= end - place:
            verified = kept = end - place - 1
        drafted.append(verified)
        accepted.append(kept)
        place += kept + 1

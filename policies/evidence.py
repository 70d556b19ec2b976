"""From one request's steps to additive counters, and from counters back to what they say.

Counted per step with cap k, drafted d and accepted a, for each position i from 1 (the vocabulary is vLLM's):

    reached_i   += [a >= i - 1 and k >= i]     the drafter could have offered an i-th token that counts
    proposed_i  += [reached and d >= i]        it did
    accepted_i  += [a >= i]                    the target agreed

Only our own cap censors a position, and the end of the request; a draft that the drafter ended early is
missing coverage, which is evidence. A request's last step was clipped to what the request kept, and of the
position behind the last kept token nothing is known if it was accepted. Counting it only when it was rejected
would read short answers as bad drafts, hence a last step counts its accepted positions and no more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Final, NamedTuple

MAX_POSITIONS: Final = 32

_ROUNDING: Final = 1e-6
"""Relative slack between counters that were added and decayed in different orders."""


class Position(NamedTuple):
    """How often a position was reached, proposed there, and accepted."""

    reached: float
    proposed: float
    accepted: float


class Cluster(NamedTuple):
    """Moments over the requests that ran with cap `k`: x is a request's steps, y its accepted tokens."""

    k: int
    requests: float
    x: float
    y: float
    xx: float
    xy: float
    yy: float


@dataclass(frozen=True, slots=True)
class RequestSteps:
    """The complete steps of one finished request that ran with cap `k` on every step."""

    k: int
    per_step_drafted: Sequence[int]
    per_step_accepted: Sequence[int]

    @property
    def steps(self) -> int:
        """Target passes after the one that read the prompt."""
        return len(self.per_step_accepted)

    @property
    def drafted(self) -> int:
        """Draft tokens that were verified."""
        return sum(self.per_step_drafted)

    @property
    def accepted(self) -> int:
        """Draft tokens that were accepted and kept."""
        return sum(self.per_step_accepted)

    @property
    def decode_tokens(self) -> int:
        """Tokens the decode steps left: one of the target's own per step, and the accepted ones."""
        return self.steps + self.accepted

    def problem(self) -> str | None:
        """Why these numbers cannot be true, or None. Impossible numbers must never reach a posterior."""
        try:
            return self._contradiction()
        except TypeError as error:  # no whole number, or nothing at all, where a number should be
            return f"unreadable step counts: {error}"

    def _contradiction(self) -> str | None:
        if not 0 <= index(self.k) <= MAX_POSITIONS:
            return f"k {self.k} is outside 0..{MAX_POSITIONS}"
        if len(self.per_step_drafted) != len(self.per_step_accepted):
            return "drafted and accepted have different numbers of steps"
        for drafted, accepted in zip(self.per_step_drafted, self.per_step_accepted, strict=True):
            if not 0 <= index(accepted) <= index(drafted) <= self.k:
                return f"a step with {drafted} drafted and {accepted} accepted at k {self.k}"
        return None


def counters(steps: RequestSteps) -> dict[str, float]:
    """The decaying counters one request adds to its cells.

    Keys: `requests`, `steps`, `tokens`, `drafted`, `accepted`; for its k `steps:<k>` and `tokens:<k>`, and
    where it decoded speculatively the request moments `requests:<k>`, `xx:<k>`, `xy:<k>`, `yy:<k>` (see
    `Cluster`) for the design effect; per position i `reached:<i>`, `proposed:<i>`, `accepted:<i>`, left out
    where zero.

    Raises:
        ValueError: The numbers cannot be true.
    """
    if (problem := steps.problem()) is not None:
        raise ValueError(problem)
    k, x, y = steps.k, steps.steps, steps.accepted
    result: dict[str, float] = {
        "requests": 1,
        "steps": x,
        "tokens": steps.decode_tokens,
        "drafted": steps.drafted,
        "accepted": y,
        f"steps:{k}": x,
        f"tokens:{k}": steps.decode_tokens,
    }
    if k and x:
        result |= {f"requests:{k}": 1, f"xx:{k}": x * x, f"xy:{k}": x * y, f"yy:{k}": y * y}
    for i, position in enumerate(_counted_positions(steps), start=1):
        result |= {f"{name}:{i}": count for name, count in position._asdict().items() if count}
    return result


def lifetime(steps: RequestSteps) -> dict[str, int]:
    """The totals one request adds that never decay; they make a recount exact."""
    return {
        "requests": 1,
        "steps": steps.steps,
        "drafted": steps.drafted,
        "accepted": steps.accepted,
        "tokens": steps.decode_tokens,
    }


def positions(counts: Mapping[str, float], factor: float = 1.0) -> list[Position]:
    """The per-position counters, from position 1 to the last one reached, times `factor`."""
    found = []
    get = counts.get
    for reached, proposed, accepted in _POSITION_KEYS:
        if not (times := get(reached)):
            break
        found.append(Position(times * factor, get(proposed, 0.0) * factor, get(accepted, 0.0) * factor))
    return found


def clusters(counts: Mapping[str, float], factor: float = 1.0) -> list[Cluster]:
    """The request moments, for every k that requests ran with, of `factor` times as many requests."""
    found = []
    get = counts.get
    asked = _REQUEST_KEYS.intersection(counts)
    for k, requests, steps, tokens, xx, xy, yy in sorted([_CLUSTER_KEYS[name] for name in asked]):
        if number := get(requests):
            x = get(steps, 0.0)
            y = get(tokens, 0.0) - x
            sizes = get(xx, 0.0) * factor, get(xy, 0.0) * factor, get(yy, 0.0) * factor
            found.append(Cluster(k, number * factor, x * factor, y * factor, *sizes))
    return found


def is_sound(counts: Mapping[str, float]) -> bool:
    """Whether counters can be what requests added up to: finite, not negative, and no more hits than tries.

    A store may hand over what something else wrote into it, or lose a field. Such a cell counts nowhere:
    using the half of it that looks right would read lost hits as misses.
    """
    return sound_parts(counts) is not None


def sound_parts(
    counts: Mapping[str, float], factor: float = 1.0
) -> tuple[list[Position], list[Cluster]] | None:
    """`positions` and `clusters` of counters that are sound (see `is_sound`), else None."""
    if not counts:
        return [], []
    # The smallest of some numbers may hide a NaN, their sum does not.
    if not (min(counts.values()) >= 0.0 and sum(counts.values()) < math.inf):
        return None
    by_position, by_k = positions(counts, factor), clusters(counts, factor)
    slack = 1 + _ROUNDING
    limit = math.inf
    for reached, proposed, accepted in by_position:
        if reached > limit * slack or proposed > reached * slack or accepted > proposed * slack:
            return None
        limit = accepted
    return (by_position, by_k) if all(map(_is_possible, by_k)) else None


def _is_possible(group: Cluster) -> bool:
    """Whether moments can be sums over requests of at least one step that accepted at most k tokens each."""
    k, requests, x, y, xx, xy, yy = group
    slack = 1 + _ROUNDING
    return (
        -x * _ROUNDING <= y <= k * x * slack
        and requests <= x * slack
        and x <= xx * slack
        and y <= xy * slack
        and y <= yy * slack
    )


def _counted_positions(steps: RequestSteps) -> list[Position]:
    reached, proposed, accepted = [0] * steps.k, [0] * steps.k, [0] * steps.k
    last = steps.steps - 1
    for number, (d, a) in enumerate(zip(steps.per_step_drafted, steps.per_step_accepted, strict=True)):
        for i in range(a if number == last else min(steps.k, a + 1)):
            reached[i] += 1
            proposed[i] += d > i
            accepted[i] += a > i
    return [Position(*counts) for counts in zip(reached, proposed, accepted, strict=True)]


_NUMBERS: Final = range(1, MAX_POSITIONS + 1)
# Built once: these names are looked up whenever an estimate is made.
_POSITION_KEYS: Final = tuple((f"reached:{i}", f"proposed:{i}", f"accepted:{i}") for i in _NUMBERS)
_CLUSTER_KEYS: Final = {
    f"requests:{k}": (k, f"requests:{k}", f"steps:{k}", f"tokens:{k}", f"xx:{k}", f"xy:{k}", f"yy:{k}")
    for k in _NUMBERS
}
_REQUEST_KEYS: Final = frozenset(_CLUSTER_KEYS)

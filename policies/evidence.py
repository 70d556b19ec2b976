"""From one request's steps to additive counters, and from counters back to what they say.

Counted per step with cap k, drafted d and accepted a, for each position i from 1 (the vocabulary is vLLM's):

    reached_i   += [a >= i - 1 and k >= i]     the drafter could have offered an i-th token that counts
    proposed_i  += [reached and d >= i]        it did
    accepted_i  += [a >= i]                    the target agreed

Only our own cap censors a position; a draft that the drafter ended early is missing coverage, which is evidence.
The last step of a request was clipped to what the request kept, so a clipped step says nothing about the position
behind the cut: where it ends fully accepted, that position is censored too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_POSITIONS = 32


@dataclass(frozen=True, slots=True)
class RequestSteps:
    """The complete steps of one finished request that ran with cap `k` on every step."""

    k: int
    per_step_drafted: Sequence[int]
    per_step_accepted: Sequence[int]

    @property
    def steps(self) -> int:
        return len(self.per_step_accepted)

    @property
    def drafted(self) -> int:
        return sum(self.per_step_drafted)

    @property
    def accepted(self) -> int:
        return sum(self.per_step_accepted)

    @property
    def decode_tokens(self) -> int:
        """Tokens the decode steps left: one of the target's own per step, and the accepted ones."""
        return self.steps + self.accepted

    def problem(self) -> str | None:
        """Why these numbers cannot be true, or None. Impossible numbers must never reach a posterior."""
        if not 0 <= self.k <= MAX_POSITIONS:
            return f"k {self.k} is outside 0..{MAX_POSITIONS}"
        if len(self.per_step_drafted) != len(self.per_step_accepted):
            return "drafted and accepted have different numbers of steps"
        for drafted, accepted in zip(self.per_step_drafted, self.per_step_accepted, strict=True):
            if not 0 <= accepted <= drafted <= self.k:
                return f"a step with {drafted} drafted and {accepted} accepted at k {self.k}"
        return None


def counters(steps: RequestSteps) -> dict[str, float]:
    """The decaying counters one request adds to its cells.

    Keys: `requests`, `steps`, `tokens`, `drafted`, `accepted`; `steps:<k>` and `tokens:<k>` for its k; per
    position i `reached:<i>`, `proposed:<i>`, `accepted:<i>`; and for the design effect the request moments
    `x`, `xx`, `y`, `yy`, `xy` with x = reached positions and y = accepted ones (see `acceptance.design_effect`).

    Raises ValueError when the numbers cannot be true.
    """
    if (problem := steps.problem()) is not None:
        raise ValueError(problem)
    reached, proposed, accepted = [0] * steps.k, [0] * steps.k, [0] * steps.k
    last = steps.steps - 1
    for number, (d, a) in enumerate(zip(steps.per_step_drafted, steps.per_step_accepted, strict=True)):
        cap = a if number == last and a == d else steps.k
        for i in range(min(cap, a + 1)):
            reached[i] += 1
            proposed[i] += d > i
            accepted[i] += a > i
    x, y = float(sum(reached)), float(sum(accepted))
    result: dict[str, float] = {
        "requests": 1,
        "steps": steps.steps,
        "tokens": steps.decode_tokens,
        "drafted": steps.drafted,
        "accepted": steps.accepted,
        f"steps:{steps.k}": steps.steps,
        f"tokens:{steps.k}": steps.decode_tokens,
    }
    if x:
        result |= {"n": 1, "x": x, "xx": x * x, "y": y, "yy": y * y, "xy": x * y}
    for i in range(steps.k):
        if not reached[i]:
            break
        result |= {f"reached:{i + 1}": reached[i]}
        if proposed[i]:
            result |= {f"proposed:{i + 1}": proposed[i]}
        if accepted[i]:
            result |= {f"accepted:{i + 1}": accepted[i]}
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


def positions(counts: Mapping[str, float], name: str) -> list[float]:
    """The per-position counters called `name`, from position 1 to the last one present."""
    last = max((int(key[len(name) + 1 :]) for key in counts if key.startswith(f"{name}:")), default=0)
    return [counts.get(f"{name}:{i}", 0.0) for i in range(1, last + 1)]

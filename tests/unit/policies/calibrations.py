"""Answers of a calibration with a known acceptance, for tests of what is made of them."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from policies.calibrating import Measured, PoolFacts, Side
from policies.cost import Calibrated, StepTime

VANILLA = PoolFacts("vanilla", "none", 0, 1, 16)
NGRAM = PoolFacts("ngram", "ngram", 8, 1, 16)
DRAFT = PoolFacts("draft", "draft_model", 5, 1, 16, is_model=True)
PLAIN = Side("vanilla", 0, 0.0, 1.0, 1)
PLAIN_S = 0.02
COSTS = {
    "vanilla": Calibrated(StepTime(PLAIN_S, wide=0.5 * PLAIN_S), 0.05, 2000),
    "ngram": Calibrated(StepTime(PLAIN_S, wide=0.5 * PLAIN_S), 0.05, 2000),
    "draft": Calibrated(StepTime(PLAIN_S, wide=0.5 * PLAIN_S, per_asked=0.1 * PLAIN_S), 0.05, 2000),
}


def drafting(k: int = 4, profile: str = "ngram", **changes: Any) -> Side:
    """A side that drafts, at the base unless changed."""
    return Side(profile, k, 0.0, 1.0, 1)._replace(**changes)


def answer(prompt: str, side: Side, accepted: Sequence[int] = (), **changes: Any) -> Measured:
    """A steady answer whose drafts were all k tokens long; a step takes `PLAIN_S`, half more with drafts."""
    steps = tuple(accepted) or (0,) * 20
    values: dict[str, Any] = {
        "prompt": prompt,
        "domain": "code",
        "side": side,
        "task": "code",
        "tenant": "anonymous",
        "profile": side.profile,
        "k": side.k,
        "prompt_tokens": 100,
        "tokens": 1 + len(steps) + sum(steps),
        "decode_s": len(steps) * PLAIN_S * (1.5 if side.k else 1.0),
        "ttft_s": 0.05,
        "drafted": (side.k,) * len(steps),
        "accepted": steps,
    }
    return Measured(**{**values, **changes})


def lucky(rng: Random, alpha: float, k: int, steps: int) -> list[int]:
    """Accepted tokens of so many steps, each draft token with chance `alpha`."""
    found = []
    for _ in range(steps):
        run = 0
        while run < k and rng.random() < alpha:
            run += 1
        found.append(run)
    return found


def answers(
    alpha: float, *, prompts: int = 12, steps: int = 40, seed: int = 1, **changes: Any
) -> Iterator[Measured]:
    """Every prompt plainly, and with k = 2, 4 and 8."""
    rng = Random(seed)
    for number in range(prompts):
        name = f"{changes.get('domain', 'code')}-{number}"
        yield answer(name, PLAIN, **changes)
        for k in (2, 4, 8):
            yield answer(name, drafting(k), lucky(rng, alpha, k, steps), **changes)

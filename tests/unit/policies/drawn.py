"""Tasks whose requests differ in acceptance, many at once: the dice of `drafting`, thrown in arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
"""So many requests' alphas."""

DRAWS: Final[Mapping[str, Draw]] = {
    "concentrated": lambda rng, n: rng.beta(32.5, 17.5, n),  # deviation 0.07
    "broad": lambda rng, n: rng.beta(6.0, 3.2, n),  # 0.15
    "wide": lambda rng, n: rng.beta(2.0, 1.3, n),  # 0.24
    "uniform": lambda rng, n: rng.random(n),  # 0.29
    "two kinds": lambda rng, n: np.where(rng.random(n) < 0.5, 0.3, 0.85),  # 0.28
}
_AT_ONCE: Final = 2_000_000
"""Steps in memory."""


def beta_around(mean: float, together: float) -> Draw:
    """A Beta distribution with this mean; the larger `together`, the narrower."""
    return lambda rng, n: rng.beta(mean * together, (1.0 - mean) * together, n)


@cache
def long_run_length(draw: str, k: int) -> float:
    """Tokens over steps of very many requests: one of so many tokens takes 1 / L of them in steps."""
    alphas = DRAWS[draw](np.random.default_rng(0), 200_000)
    lengths = sum(alphas**i for i in range(k + 1))
    return float(alphas.size / np.sum(1.0 / lengths))


def counted(
    draw: Draw, *, tasks: int, requests: int, ks: tuple[int, ...], tokens: tuple[int, int], seed: int
) -> list[dict[str, float]]:
    """The counters of so many tasks, each with so many requests, as `evidence.counters` sums them.

    The k of a task's requests take turns. A request decodes a number of tokens within `tokens`.
    """
    rng = np.random.default_rng(seed)
    found: list[dict[str, float]] = []
    while len(found) < tasks:
        part = min(tasks - len(found), max(1, _AT_ONCE // (requests * tokens[1])))
        found += _counted(rng, draw, part, np.resize(ks, requests), tokens)
    return found


def _counted(
    rng: np.random.Generator, draw: Draw, tasks: int, ks: NDArray[np.int_], tokens: tuple[int, int]
) -> list[dict[str, float]]:
    requests = len(ks)
    k = np.tile(ks, tasks)[:, None]
    alphas = np.clip(draw(rng, tasks * requests), 0.0, 1.0 - 1e-9)[:, None]
    wanted = rng.integers(tokens[0], tokens[1] + 1, (tasks * requests, 1), dtype=np.int16)
    accepted = np.minimum(rng.geometric(1.0 - alphas, (tasks * requests, tokens[1])) - 1, k).astype(np.int16)
    before = np.cumsum(accepted + 1, axis=1, dtype=np.int16) - accepted - 1
    taken = before < wanted  # no more than some thousand tokens, so 16 bits hold them
    last = taken & (before + accepted + 1 >= wanted)
    accepted = np.where(last, wanted - before - 1, accepted)
    x, y = taken.sum(1), (accepted * taken).sum(1)
    columns = {"requests": np.ones_like(x), "steps": x, "tokens": x + y}
    columns |= {"drafted": k[:, 0] * x, "accepted": y}
    for one in set(ks.tolist()):
        here = k[:, 0] == one
        moments = {"requests": 1, "steps": x, "tokens": x + y, "xx": x * x, "xy": x * y, "yy": y * y}
        columns |= {f"{name}:{one}": here * value for name, value in moments.items()}
    for i in range(1, max(ks.tolist()) + 1):
        gained = (taken & (accepted >= i)).sum(1)
        lost = (taken & ~last & (accepted == i - 1) & (k >= i)).sum(1)
        columns[f"accepted:{i}"] = gained
        columns[f"reached:{i}"] = columns[f"proposed:{i}"] = gained + lost
    sums = {name: value.reshape(tasks, requests).sum(1) for name, value in columns.items()}
    return [{name: float(value[n]) for name, value in sums.items() if value[n]} for n in range(tasks)]

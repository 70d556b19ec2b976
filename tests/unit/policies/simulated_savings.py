"""Traffic of which it is known what every request would have taken plainly and as it was routed."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.savings import Cell, Observation, Sums, Tally

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass
class Shape:
    """How traffic looks. Times are seconds, lengths tokens.

    `speedups` are by task, `mix` its shares; `lengths` is the spread of the logarithm of lengths; `noise` that
    of a request's own rate, which both arms share, and `stalls` how often a request takes three times as long;
    `fixed_s` a part that does not depend on length; `rush` how much slower busy hours are; `shares` the
    holdout share of the first and the second half, of which the second is `slowdown` times as slow.
    """

    requests: int = 2600
    speedups: tuple[float, ...] = (1.6, 1.2, 0.95)
    mix: tuple[float, ...] = (0.4, 0.4, 0.2)
    lengths: float = 0.7
    noise: float = 0.1
    stalls: float = 0.0
    fixed_s: float = 0.0
    rush: float = 0.0
    shares: tuple[float, float] = (0.05, 0.05)
    slowdown: float = 1.0
    tenants: int = 1


class Counted(NamedTuple):
    """What routers would count, and what was truly saved on the requests that were not held out."""

    cells: dict[Cell, Sums]
    saved_s: float
    held_out: int


def counted(shape: Shape, seed: int) -> Counted:
    """One day of traffic, counted. The same seed, the same requests."""
    rng = np.random.default_rng(seed)
    n = shape.requests
    tasks = rng.choice(len(shape.mix), n, p=shape.mix)
    tenants = rng.integers(0, shape.tenants, n)
    at = np.sort(rng.random(n))
    tokens = np.maximum(1, np.exp(rng.normal(4.5, shape.lengths, n))).astype(int)
    rates = 0.01 * np.exp(rng.normal(0, shape.noise, n)) * (1 + 0.2 * tasks) * (1 + 0.3 * tenants)
    rates *= 1 + shape.rush * np.sin(math.pi * at) ** 4
    rates *= np.where(at > 0.5, shape.slowdown, 1.0)
    stalls = np.where(rng.random((2, n)) < shape.stalls, 3.0, 1.0)
    own = np.exp(rng.normal(0, shape.noise / 2, (2, n)))
    shares = np.where(at > 0.5, shape.shares[1], shape.shares[0])
    held = rng.random(n) < shares
    plain = shape.fixed_s + (tokens - 1) * rates * stalls[0] * own[0]
    routed = shape.fixed_s + (tokens - 1) * rates * stalls[1] * own[1] / np.array(shape.speedups)[tasks]
    cells: dict[Cell, Sums] = {}
    for place in np.flatnonzero(held):
        cell = Cell(f"tenant-{tenants[place]}", f"task-{tasks[place]}", "holdout")
        taken_s = float(plain[place])
        seen = Observation(
            group="holdout",
            share=float(shares[place]),
            completed=True,
            tokens=int(tokens[place]),
            decode_s=taken_s,
            completion_s=taken_s + 0.2,
        )
        cells[cell] = cells.get(cell, Sums()) + Sums.of(seen)
    for tenant in range(shape.tenants):
        for task in range(len(shape.mix)):
            own_ones = ~held & (tenants == tenant) & (tasks == task)
            cells[Cell(f"tenant-{tenant}", f"task-{task}", "routed")] = _routed(
                shares[own_ones], tokens[own_ones], routed[own_ones]
            )
    return Counted(cells, float((plain - routed)[~held].sum()), int(held.sum()))


def _routed(shares: Floats, tokens: Whole, seconds: Floats) -> Sums:
    """The tally of requests that were not held out, all at once: sums are all it has."""
    tally = Tally(
        requests=len(tokens),
        share=shares.sum(),
        share_variance=(shares * (1 - shares)).sum(),
        speculative=len(tokens),
        output_tokens=tokens.sum(),
        decode_tokens=(tokens - 1).sum(),
        decode_s=seconds.sum(),
        completion_s=(seconds + 0.2).sum(),
        decode_squares=((tokens - 1) ** 2 / shares).sum(),
        output_squares=(tokens**2 / shares).sum(),
    )
    return Sums(tuple(map(float, tally)))

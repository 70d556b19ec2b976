"""Which acceptance pays: at which batch, k and context, on the hardware that was measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

from policies.acceptance import level, pooled
from policies.calibrating.measured import Measured
from policies.calibrating.plan import PoolFacts
from policies.cells import CellKey
from policies.cost import Calibrated
from policies.suggest.break_even import break_even
from policies.suggest.evidence import Evidence

CONTEXTS: Final = (256.0, 1024.0, 4096.0)
_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_FACTOR: Final = 2.0
"""Within it a context is about another one: step times are linear in it."""
_NEVER: Final = 0.999


class Point(NamedTuple):
    """One place of a pool's surface.

    Attributes:
        profile: The pool.
        k: Draft tokens per step.
        batch: Requests that an engine decodes at once, all with this k.
        context: Tokens of context of each.
        alpha: The effective acceptance from which on drafts pay; None where none does.
        half_width: Of the interval of 90 % around it, from the error of the step times.
        plain_ms: A plain step.
        speculative_ms: A step with drafts.
        measured: Whether a batch of requests ran with this k and about this context, up to twice as much or
            half of it; elsewhere the cost model says it.
    """

    profile: str
    k: int
    batch: int
    context: float
    alpha: float | None
    half_width: float
    plain_ms: float
    speculative_ms: float
    measured: bool


def surface(
    pools: Sequence[PoolFacts],
    costs: Mapping[str, Calibrated],
    evidence: Mapping[CellKey, Mapping[str, float]],
    ran: Mapping[tuple[str, int, int], Sequence[float]],
    contexts: Collection[float] = CONTEXTS,
) -> list[Point]:
    """The surface of every pool that drafts and whose step times were measured.

    Args:
        pools: The pools.
        costs: Their step times.
        evidence: Cells, which say how often a drafter offers anything: what it does not offer costs nothing.
        ran: The contexts of what was measured, by profile, k and batch; see `contexts_ran`.
        contexts: Tokens of context of each request, to tell the surface at.
    """
    found = []
    asked = {pool.profile: pool.least_asked for pool in pools}
    for pool in pools:
        row = _coverage(pool, evidence)
        for batch in [one for one in _BATCHES if one <= pool.slots]:
            for k in range(1, pool.max_k + 1):
                for context in sorted(contexts):
                    at = break_even(row, costs, k=k, requests=batch, context=context, asked=asked)
                    if at is not None:
                        found.append(
                            Point(
                                pool.profile,
                                k,
                                batch,
                                context,
                                None if at.alpha >= _NEVER else round(at.alpha, 4),
                                round(at.half_width, 4),
                                round(1000 * at.plain_s, 4),
                                round(1000 * at.speculative_s, 4),
                                _near(context, ran.get((pool.profile, k, batch), ())) >= batch,
                            )
                        )
    return found


def contexts_ran(measured: Iterable[Measured]) -> dict[tuple[str, int, int], list[float]]:
    """The context of every answer, by the profile and k it was decoded with and its batch."""
    found: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for one in measured:
        found[one.profile, one.k, one.side.batch].append(one.context)
    return found


def typical_context(measured: Iterable[Measured]) -> float:
    """The median context of answers, to two digits; that of `CONTEXTS` in the middle without any."""
    found = median([one.context for one in measured] or CONTEXTS)
    return float(f"{found:.2g}")


def file_entries(points: Sequence[Point], profile: str) -> list[dict[str, Any]]:
    """A pool's surface as the calibration file has it."""
    return [
        {
            "k": one.k,
            "batch": one.batch,
            "context": one.context,
            "alpha": one.alpha,
            "half_width": one.half_width,
            "measured": one.measured,
        }
        for one in points
        if one.profile == profile
    ]


def _near(context: float, ran: Sequence[float]) -> int:
    """How many of the contexts are about this one."""
    return sum(context <= _FACTOR * one <= _FACTOR * _FACTOR * context for one in ran)


def _coverage(pool: PoolFacts, evidence: Mapping[CellKey, Mapping[str, float]]) -> Evidence:
    """The drafter's coverage over all tasks; where nothing is known, or a model drafts, it offers all."""
    own = {key: counts for key, counts in evidence.items() if key.served_profile == pool.profile}
    replayed = [counts for key, counts in own.items() if key.is_of_replays]
    counted = level(pooled(replayed or own.values())).counted
    coverage = tuple(proposed / reached for reached, proposed, _ in counted if reached > 0)
    return Evidence(
        profile=pool.profile,
        task="other",
        tenant=None,
        temperature=None,
        alpha=None,
        interval=None,
        coverage=coverage or (1.0,),
        steps=0.0,
        least_asked=pool.least_asked,
    )

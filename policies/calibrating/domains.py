"""What was measured of each domain: acceptance by position, and the time per token of every side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from policies.acceptance import level
from policies.calibrating.by_side import SideResult, counts_of, side_result
from policies.calibrating.figures import Figure, alpha_of, rate
from policies.calibrating.measured import Measured
from policies.calibrating.plan import plain_profile

POOR: Final = 0.5
"""Below it drafts are wrong more often than right, and a drafter that is a model hardly ever pays."""
GRAY: Final = 0.6
"""From here on it usually pays; between the two it depends on the hardware and the load."""

Zone = Literal["poor", "gray", "good"]
Verdict = Literal["pays", "loses", "unclear"]


class DomainResult(NamedTuple):
    """What one pool's drafts are worth on one domain, at the base temperature and top_p.

    Attributes:
        domain: The prompts' own name for it.
        profile: The pool that drafts.
        tasks: What the service took the prompts for, the most frequent first.
        prompts: How many.
        reference_k: The k that alpha is quoted at.
        alpha: Effective acceptance; None without a draft.
        zone: How people call it: see `POOR` and `GRAY`.
        acceptance: Conditional acceptance by position, at the largest k.
        coverage: Draft coverage by position, at the largest k.
        best_k: The k with the least time per token, one request at a time.
        speedup: 1 / the ratio of times per token at that k.
        verdict: Whether drafts pay there with 90 % confidence.
        sides: Every side of it, those of plain decoding too.
    """

    domain: str
    profile: str
    tasks: tuple[str, ...]
    prompts: int
    reference_k: int
    alpha: Figure | None
    zone: Zone | None
    acceptance: tuple[Figure, ...]
    coverage: tuple[Figure, ...]
    best_k: int | None
    speedup: Figure | None
    verdict: Verdict
    sides: tuple[SideResult, ...]


def domain_results(
    measured: Sequence[Measured], *, base: tuple[float, float], reference_ks: Mapping[str, int]
) -> list[DomainResult]:
    """The results of every domain on every pool that drafts.

    Args:
        measured: All answers.
        base: The temperature and top_p that plain decoding was measured at.
        reference_ks: The k that alpha is quoted at, by pool; it must have been measured.
    """
    found: list[DomainResult] = []
    plain = plain_profile({one.side.profile for one in measured if not one.side.k}, reference_ks.keys())
    for domain in dict.fromkeys(one.domain for one in measured):
        own = [one for one in measured if one.domain == domain]
        found += [
            _domain(domain, profile, own, base, reference_k=reference_k, plain=plain)
            for profile, reference_k in reference_ks.items()
            if any(one.side.profile == profile and one.side.k for one in own)
        ]
    return found


def zone_of(alpha: float) -> Zone:
    """How people call this effective acceptance."""
    return "poor" if alpha < POOR else "gray" if alpha < GRAY else "good"


def _domain(
    domain: str,
    profile: str,
    own: Sequence[Measured],
    base: tuple[float, float],
    *,
    reference_k: int,
    plain: str,
) -> DomainResult:
    batch = min(one.side.batch for one in own)
    drafting = [one for one in own if one.side.profile == profile and one.side.k and one.as_asked]
    alone = [one for one in drafting if one.side[2:] == (*base, batch)]
    at_reference = counts_of(one for one in alone if one.k == reference_k)
    largest = max((one.k for one in alone), default=0)
    positions = counts_of(one for one in alone if one.k == largest)
    alpha = alpha_of(at_reference, reference_k=reference_k)
    sides = tuple(
        side_result(
            side, [one for one in own if one.side == side], [one for one in own if _is_plain(one, plain)]
        )
        for side in sorted({one.side for one in own if one.side.profile == profile or _is_plain(one, plain)})
    )
    timed = [
        (one.tpot_ratio, one.side.k)
        for one in sides
        if one.tpot_ratio is not None and one.side.k and one.side[2:] == (*base, batch)
    ]
    ratio, best_k = min(timed, default=(None, None))
    counted, design = level(positions).counted, level(positions).design
    tries = [(p, a, r) for r, p, a in counted if p > 0]
    return DomainResult(
        domain=domain,
        profile=profile,
        tasks=tuple(task for task, _ in Counter(one.task for one in own).most_common()),
        prompts=len({one.prompt for one in own}),
        reference_k=reference_k,
        alpha=alpha,
        zone=None if alpha is None else zone_of(alpha.value),
        acceptance=tuple(one for p, a, _ in tries if (one := rate(a, p, design)) is not None),
        coverage=tuple(one for p, _, r in tries if (one := rate(p, r, design)) is not None),
        best_k=best_k,
        speedup=None if ratio is None else Figure(1 / ratio.value, 1 / ratio.high, 1 / ratio.low),
        verdict=_verdict(ratio),
        sides=sides,
    )


def _verdict(ratio: Figure | None) -> Verdict:
    if ratio is None or ratio.low <= 1 <= ratio.high:
        return "unclear"
    return "pays" if ratio.high < 1 else "loses"


def _is_plain(one: Measured, profile: str) -> bool:
    return one.as_asked and not one.k and one.profile == profile

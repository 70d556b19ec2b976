"""What sampling changes: acceptance at other temperatures and with another top_p, prompt by prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from policies.calibrating.by_side import counts_of
from policies.calibrating.figures import Figure, alpha_of, mean_ratio
from policies.calibrating.measured import Measured


class SamplingResult(NamedTuple):
    """A domain's drafts under two ways to sample, at one k.

    Attributes:
        domain: The domain.
        profile: The pool that drafts.
        k: Draft tokens per step.
        what: What differs, `temperature` or `top_p`.
        value: The one value.
        lower: The other, lower one.
        alpha: Effective acceptance at `value`.
        lower_alpha: The same at `lower`.
        gain: Tokens per step at `lower` over those at `value`, prompt by prompt; a step takes as long.
    """

    domain: str
    profile: str
    k: int
    what: str
    value: float
    lower: float
    alpha: Figure
    lower_alpha: Figure
    gain: Figure


def sampling_results(
    measured: Sequence[Measured], *, base: tuple[float, float], reference_ks: Mapping[str, int]
) -> list[SamplingResult]:
    """Each way to sample that was tried beside the base, compared with it.

    `base` are its temperature and top_p, `reference_ks` the k at which others were tried, by pool.
    """
    found = []
    groups: dict[tuple[str, str], dict[tuple[float, float], list[Measured]]] = defaultdict(
        lambda: defaultdict(list)
    )
    batch = min((one.side.batch for one in measured), default=1)
    for one in measured:
        if one.as_asked and one.k and one.k == reference_ks.get(one.profile) and one.side.batch == batch:
            groups[one.domain, one.profile][one.side.temperature, one.side.top_p].append(one)
    for (domain, profile), by_sampling in groups.items():
        for sampling in sorted(by_sampling.keys() - {base}):
            low, high = sorted((base, sampling))
            compared = _compared(by_sampling[low], by_sampling[high], reference_ks[profile])
            if compared is not None:
                alpha, lower_alpha, gain = compared
                number, what = (0, "temperature") if low[0] != high[0] else (1, "top_p")
                found.append(
                    SamplingResult(
                        domain,
                        profile,
                        reference_ks[profile],
                        what,
                        high[number],
                        low[number],
                        alpha,
                        lower_alpha,
                        gain,
                    )
                )
    return found


def _compared(
    low: Sequence[Measured], high: Sequence[Measured], k: int
) -> tuple[Figure, Figure, Figure] | None:
    """Effective acceptance of the higher and of the lower value, and the gain; None with too few answers."""
    alpha, lower_alpha = (alpha_of(counts_of(answers), reference_k=k) for answers in (high, low))
    above, below = _lengths(high), _lengths(low)
    gain = mean_ratio([below[prompt] / above[prompt] for prompt in below if prompt in above])
    if alpha is None or lower_alpha is None or gain is None:
        return None
    return alpha, lower_alpha, gain


def _lengths(answers: Iterable[Measured]) -> dict[str, float]:
    """Tokens per step, by prompt."""
    return {one.prompt: 1 + sum(one.accepted) / len(one.accepted) for one in answers if one.accepted}

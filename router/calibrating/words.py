"""What a calibration says, in sentences: warnings by domain, and what other sampling would bring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from policies.calibrating import Average, DomainResult, Figure, SamplingResult
from policies.calibrating.domains import GRAY, POOR

UNKNOWN: Final = "–"  # noqa: RUF001 - a dash for people
_MANY: Final = 0.1
_ZONES: Final = {
    "poor": f"below {POOR:g}: most drafts are wrong, a drafter that is a model would hardly ever pay",
    "gray": f"in the gray zone from {POOR:g} to {GRAY:g}: whether drafts pay depends on hardware and load",
}


def shown(figure: Figure | Average | None, digits: int = 2) -> str:
    """`0.31 (0.25 to 0.38)`, and `0.31` without an interval."""
    if figure is None:
        return UNKNOWN
    if figure.low is None or figure.high is None:
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"


def warnings(domains: Sequence[DomainResult]) -> Iterator[str]:
    """A sentence for every domain below the good zone, and for what was decoded elsewhere than asked."""
    for one in domains:
        name = f"{one.domain} on {one.profile}"
        if one.alpha is not None and one.zone in _ZONES:
            yield f"{name}: alpha {shown(one.alpha)} is {_ZONES[one.zone]}; {verdict(one)}"
        elsewhere = sum(side.elsewhere for side in one.sides)
        total = elsewhere + sum(side.requests for side in one.sides)
        if elsewhere > _MANY * total:
            yield (
                f"{name}: {elsewhere} of {total} answers were not decoded where and as asked: is a pool away "
                "or full, or the policy's k.max lower?"
            )


def verdict(one: DomainResult) -> str:
    """Whether drafts pay, as measured one request at a time."""
    if one.speedup is None:
        return "their time was not measured"
    speedup = f"{shown(one.speedup)} times as fast as plain at k = {one.best_k}"
    match one.verdict:
        case "pays":
            return f"measured here they pay: {speedup}"
        case "loses":
            return f"measured here they do not pay: {speedup}"
        case "unclear":
            return f"whether they pay here is not clear yet: {speedup}"


def sampling(results: Sequence[SamplingResult]) -> Iterator[str]:
    """What the lower temperature or top_p brings, by domain."""
    for one in results:
        sure = "" if one.gain.low > 1 or one.gain.high < 1 else ", which may be chance"
        yield (
            f"{one.domain} on {one.profile}: {one.what} {one.lower:g} instead of {one.value:g} makes alpha "
            f"{shown(one.lower_alpha)} instead of {shown(one.alpha)}, and {shown(one.gain)} times as many "
            f"tokens per step at k = {one.k}{sure}"
        )

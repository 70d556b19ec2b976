"""What may be claimed of some requests: their saving with its interval, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from policies.savings.saving import Saving, completion_time, decode_time, saving
from policies.savings.strata import strata
from policies.savings.sums import GROUPS, Cell, Group, Sums, Tally
from policies.units import format_share

Verdict = Literal[
    "saved", "slower", "undecided", "not_enough_evidence", "no_holdout", "unsound", "no_requests"
]

NEEDED: Final = 100
"""Held-out requests below which nothing is claimed: where a few of twenty stall, fewer do not show it."""
_USEFUL: Final = 0.25
"""An interval that reaches further to either side than this part of the plain time says nothing."""
_SUSPICIOUS: Final = 4.5
"""Standard deviations between the requests held out and those that were to be expected. By chance once in
150,000 reports."""
_FEW_EXPECTED: Final = 5.0
_MUCH_LESS: Final = 0.9
_SUGGESTED_SHARE: Final = 0.05
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What there is to say of the requests of some cells; `decode` and `completion` are None if unsaid."""

    tallies: Mapping[Group, Tally]
    verdict: Verdict
    note: str
    decode: Saving | None = None
    completion: Saving | None = None
    hours_to_tell: float | None = None

    @property
    def whole(self) -> Tally:
        """All groups together."""
        return Tally(*map(math.fsum, zip(*self.tallies.values(), strict=True)))


class Traffic(NamedTuple):
    """How long the counted hours were, and what share is held out at present."""

    seconds: float
    share: float


def claim(cells: Mapping[Cell, Sums], traffic: Traffic, *, confidence: float) -> Claim:
    """What may be claimed of the requests of `cells`."""
    sums = {group: _sum(cells, group) for group in GROUPS}
    tallies = {group: found.tally for group, found in sums.items()}
    said = _Said(tallies, sums["holdout"].effective, traffic)
    if (refusal := _refusal(said)) is not None:
        return refusal
    parts = strata(cells)
    decode = saving(parts, lambda sums: sums.decode, decode_time, confidence)
    if decode is None:
        return said.nothing("not_enough_evidence", "no tokens were decoded to compare")
    verdict = _verdict(decode)
    if verdict == "not_enough_evidence":
        return said.nothing(verdict, said.too_wide(decode))
    return Claim(
        said.tallies,
        verdict,
        _sentence(verdict, decode, said.tallies["routed"], confidence),
        decode,
        saving(parts, lambda sums: sums.completion, completion_time, confidence),
    )


def _refusal(said: _Said) -> Claim | None:
    """What stands in the way of looking at times at all."""
    held, routed = said.tallies["holdout"], said.tallies["routed"]
    if not any(tally.requests for tally in said.tallies.values()):
        return said.nothing("no_requests", "no request was answered")
    if not held.share + routed.share:
        return said.nothing("no_holdout", said.how_long(NEEDED, "no request could have been held out"))
    if not routed.requests:
        return said.nothing("no_requests", "no request was answered that might have been held out")
    if problem := _unsound(held, routed):
        return said.nothing("unsound", problem)
    if said.held_out < NEEDED:
        have = f"{said.held_out:,.0f} requests held out of at least {NEEDED}"
        if said.held_out < _MUCH_LESS * held.requests:
            have += f" ({held.requests:,.0f} that weigh differently, since the share was changed)"
        return said.nothing("not_enough_evidence", said.how_long(NEEDED, have))
    return None


class _Said(NamedTuple):
    """What is said where nothing is claimed."""

    tallies: Mapping[Group, Tally]
    held_out: float
    """Completed requests that were held out, as equally weighted ones."""
    traffic: Traffic

    def nothing(self, verdict: Verdict, why: str | tuple[str, float | None]) -> Claim:
        """A claim without figures."""
        note, hours = (why, None) if isinstance(why, str) else why
        return Claim(self.tallies, verdict, note, hours_to_tell=hours)

    def how_long(self, needed: float, have: str) -> tuple[str, float | None]:
        """The sentence, and in how many hours there would be `needed` held-out requests."""
        share = self.traffic.share or _SUGGESTED_SHARE
        candidates = sum(tally.requests for tally in self.tallies.values())
        missing = needed - self.held_out
        if self.traffic.seconds <= 0 or candidates <= 0:
            return have, None
        hours = missing / (share * candidates / self.traffic.seconds) / _HOUR_S
        more = "" if self.traffic.share else "; set it in the policy"
        takes = f"takes about {_hours(hours)} with holdout.share {format_share(round(share, 6))}{more}"
        return f"{have}; at the present traffic that {takes}", hours

    def too_wide(self, found: Saving) -> tuple[str, float | None]:
        """The sentence for an interval that says nothing; its width falls with the root of the requests."""
        low, high = (bound / found.vanilla_s for bound in found.saved_s_interval)
        needed = math.ceil(self.held_out * ((high - low) / 2.0 / _USEFUL) ** 2)
        return self.how_long(
            needed,
            f"after {self.held_out:,.0f} requests held out the saving may be anything "
            f"from {low:+.0%} to {high:+.0%} of the plain time; about {needed:,} would tell",
        )


def _verdict(found: Saving) -> Verdict:
    low, high = found.saved_s_interval
    if (high - low) / 2.0 > _USEFUL * found.vanilla_s:
        return "not_enough_evidence"
    if low > 0:
        return "saved"
    return "slower" if high < 0 else "undecided"


def _unsound(held: Tally, routed: Tally) -> str:
    """Whether as many were held out as were drawn to be: what was lost on the way counts as well."""
    drawn = held.requests + held.lost
    expected = held.share + routed.share
    deviation = math.sqrt(held.share_variance + routed.share_variance)
    if abs(drawn - expected) <= _SUSPICIOUS * deviation + _FEW_EXPECTED:
        return ""
    return (
        f"{drawn:,.0f} requests were held out where {expected:,.0f} were to be expected: something takes "
        "requests out of one group, so nothing is claimed"
    )


def _sentence(verdict: Verdict, found: Saving, routed: Tally, confidence: float) -> str:
    low, high = found.speedup_interval
    between = f"({confidence:.0%} interval {1 / high:.2f} to {1 / low:.2f})" if low > 0 else ""
    took = (
        f"{routed.requests:,.0f} requests decoded in {1 / found.speedup:.2f} of the time that plain "
        f"decoding would have taken {between}".rstrip()
    )
    match verdict:
        case "saved":
            return took
        case "slower":
            return f"{took}: speculation cost time"
        case _:
            return f"{took}: no saving is shown"


def _sum(cells: Mapping[Cell, Sums], group: Group) -> Sums:
    whole = Sums()
    for cell, sums in cells.items():
        if cell.group == group:
            whole += sums
    return whole if whole.row else Sums((0.0,) * len(Tally._fields))


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{max(1, math.ceil(60 * hours))} minutes"
    return f"{hours:.1f} hours" if hours < 10 else f"{hours:,.0f} hours"  # noqa: PLR2004 - digits worth reading

"""Whether a standalone drafter has a good size for its target."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from policies.planning.drafts import Draft
from policies.planning.parameters import met_by_a_token, parameters
from policies.planning.shapes import Shape

LARGEST_SHARE: Final = 0.30
GOOD_SHARES: Final = (1 / 20, 1 / 5)
FEWEST: Final = 50_000_000

Verdict = Literal["good", "fair", "flagged", "exempt"]


class SizeVerdict(NamedTuple):
    """`share` of the parameters that a token meets in the target; None for what has no weights."""

    verdict: Verdict
    share: float | None
    words: str


def size_verdict(draft: Draft, target: Shape) -> SizeVerdict:
    """Good is 5 to 20 times smaller (Leviathan et al., 2023, table 1); heads and lookups are exempt.

    Of a mixture of experts those count that a token meets: the rule is about the time of a pass, which
    follows these.
    """
    count = draft.counts.total
    drafts = met_by_a_token(draft.counts, draft.kv_shape) if draft.kv_shape else float(count)
    met = met_by_a_token(parameters(target), target)
    share = drafts / met if count else None
    if not draft.standalone or share is None:
        return SizeVerdict("exempt", share, "no model of its own: exempt")
    those = f"the {met / 1e9:.1f} B that a token meets" if target.experts else ""
    smaller = f"{1 / share:.1f} times smaller{those and f' than {those}'}"
    if share > LARGEST_SHARE:
        return SizeVerdict(
            "flagged",
            share,
            f"over 30 % of the target ({share:.0%}{those and f' of {those}'}): drafting costs too much",
        )
    if count < FEWEST:
        return SizeVerdict(
            "flagged", share, f"under 50 M parameters ({count / 1e6:.0f} M): expect few accepted"
        )
    low, high = GOOD_SHARES
    if low <= share <= high:
        return SizeVerdict("good", share, f"{smaller}: 5 to 20 is good")
    hint = "drafting is expensive" if share > high else "expect fewer accepted"
    return SizeVerdict("fair", share, f"{smaller}: 5 to 20 is good, {hint}")

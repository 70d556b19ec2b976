"""Why a request went where it went, in a sentence of plain words: a template per reason, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from policies.decide import Reason

_TEMPLATES: Final[Mapping[Reason, str]] = {
    Reason.GAIN: "The least time was expected of {arm}: {speedup} as fast as plain decoding{sure}.",
    Reason.NO_GAIN: "No draft length was expected to be faster than plain decoding: "
    "the best one {speedup} as fast{alpha}.",
    Reason.UNCERTAIN: "Speculation was expected to be {speedup} as fast as plain decoding, "
    "but not surely enough by the policy's min_speedup{sure}.",
    Reason.OBJECTIVE: "Only the route of {arm} was expected to meet the policy's objective for ttft and "
    "tpot.",
    Reason.AFFINITY: "The conversation's prefix is cached where {arm} runs, "
    "which was worth more than what another pool gains.",
    Reason.ALPHA_ABOVE: "The acceptance{alpha} reached the policy's enable_above, so {arm} was taken.",
    Reason.ALPHA_BELOW: "The acceptance{alpha} was below the policy's disable_below, so {arm} was taken.",
    Reason.HYSTERESIS: "Too close to call, or changed a moment ago, so the last choice stood: {arm}{alpha}.",
    Reason.COLD_START: "The task has shown fewer steps than the policy's min_steps, "
    "so {arm} was taken on what is usual for the task{alpha}.",
    Reason.EXPLORATION: "Chosen at random to learn, with probability {propensity}: {arm}{alpha}.",
    Reason.HOLDOUT: "Kept on plain decoding at random, with probability {propensity}, to measure the saving.",
    Reason.SHADOW: "The policy only tries decisions out: {arm} served it, {intended} was decided.",
    Reason.MODE: "The policy's mode leaves no choice: {arm}.",
    Reason.OVERRIDE: "The request asked for it and the policy allows that: {arm}.",
    Reason.UNSUPPORTED: "Speculation cannot serve this request (min_p, logit_bias), so {arm} was taken.",
    Reason.SATURATED: "The pool that was preferred was full{instead}, so {arm} was taken.",
    Reason.POOL_UNAVAILABLE: "No pool that drafts could answer{instead}, so {arm} was taken.",
    Reason.FAILOVER: "The pool that was chosen first failed before its first token, so {arm} took over.",
}


def explanation(entry: Mapping[str, Any]) -> str:
    """The sentence for an entry of the admin API or a line of the decision log."""
    intended = entry["intended"]
    confidence, alpha = entry["confidence"], entry["alpha"]
    speedup = entry["expected_speedup"]
    return _TEMPLATES[Reason(entry["reason"])].format(
        arm=_arm(entry["profile"], entry["k"]),
        intended=_arm(*intended) if intended else "the same",
        instead=f" ({_arm(*intended)})" if intended else "",
        speedup="at an unknown rate" if speedup is None else f"{speedup:.2f} times",
        sure="" if confidence is None else f" (probability {_percent(confidence)})",
        alpha="" if alpha is None else f" (alpha {alpha:.2f})",
        propensity=_percent(entry["propensity"]),
    )


def _arm(profile: str, k: int) -> str:
    return f"{profile} with k = {k}" if k else f"plain decoding on {profile}"


def _percent(share: float) -> str:
    """With a digit more near 0 and 1: never 0 % or 100 % for what is not."""
    digits = 0 if 0.1 <= share <= 0.9 or share in {0.0, 1.0} else 1 if 0.01 <= share <= 0.99 else 2  # noqa: PLR2004
    return f"{share:.{digits}%}".replace("%", " %")

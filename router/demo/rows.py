"""What is known of one request after it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

Pass = Literal["first", "second"]
"""Routed with what was known at the start; with what the first pass taught."""

PASSES: tuple[Pass, ...] = ("first", "second")

Phase = Literal[Pass, "vanilla"]
"""The two passes, and the vanilla requests that are sent beside both to compare with."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request. `error` is set where it failed; everything the service did not tell is None.

    `beside` names the pass that was running, `phase` what the request was part of.
    `decode_s` runs from the engine's first token to its last, `tokens` is what usage counts.
    """

    phase: Phase
    beside: Pass
    prompt: str
    intended_task: str
    concurrency: int
    error: str | None = None
    task: str | None = None
    route: str | None = None
    profile: str | None = None
    k: int | None = None
    reason: str | None = None
    tokens: int | None = None
    decode_s: float | None = None
    ttft_s: float | None = None
    steps: int | None = None
    drafted: int | None = None
    accepted: int | None = None
    per_step_drafted: Sequence[int] | None = None
    per_step_accepted: Sequence[int] | None = None
    text: str | None = None

    @classmethod
    def of_details(
        cls,
        details: Mapping[str, Any],
        *,
        phase: Phase,
        beside: Pass,
        prompt: str,
        intended_task: str,
        concurrency: int,
        tokens: int,
        text: str,
    ) -> Self:
        """The row of a complete answer, from its `specroute` object."""
        return cls(
            phase=phase,
            beside=beside,
            prompt=prompt,
            intended_task=intended_task,
            concurrency=concurrency,
            task=details.get("task"),
            route=details.get("route"),
            profile=details.get("profile"),
            k=details.get("k"),
            reason=details.get("reason"),
            tokens=tokens,
            decode_s=details.get("measured_s"),
            ttft_s=details.get("ttft_s"),
            steps=details.get("steps"),
            drafted=details.get("drafted"),
            accepted=details.get("accepted"),
            per_step_drafted=details.get("per_step_drafted"),
            per_step_accepted=details.get("per_step_accepted"),
            text=text,
        )

    @property
    def speculative(self) -> bool:
        """Whether it was decoded with drafts."""
        return self.route == "speculative"

    @property
    def tpot_s(self) -> float | None:
        """Decode time per token after the first; None where fewer than two tokens were decoded."""
        if self.decode_s is None or self.tokens is None or self.tokens < 2:  # noqa: PLR2004 - first and last
            return None
        return self.decode_s / (self.tokens - 1)

    @property
    def overridden(self) -> bool:
        """Whether the service let the request choose its route."""
        return self.reason == "override"

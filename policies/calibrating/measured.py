"""What one request of a calibration showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from policies.cells import CellKey, temperature_bucket
from policies.evidence import RequestSteps


class Side(NamedTuple):
    """One way to answer a prompt.

    Attributes:
        profile: The pool that is asked for.
        k: Draft tokens per step; 0 decodes plainly.
        temperature: Of sampling.
        top_p: Of sampling.
        batch: Requests of the kind that an engine of the pool decodes at once.
    """

    profile: str
    k: int
    temperature: float
    top_p: float
    batch: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One request that was answered.

    `side` is what was asked for; `task`, `tenant`, `profile` and `k` are what the service did. Times in
    seconds: from the first token to the last, and to the first. `replays` are counters of what the copying
    drafters of the service would have done for this answer at every k, by profile. `block` numbers what was
    asked at once; None where nobody knows.
    """

    prompt: str
    domain: str
    side: Side
    task: str
    tenant: str
    profile: str
    k: int
    prompt_tokens: int
    tokens: int
    decode_s: float
    ttft_s: float
    drafted: tuple[int, ...]
    accepted: tuple[int, ...]
    replays: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    block: int | None = None

    @property
    def steps(self) -> RequestSteps:
        """Its steps, as evidence."""
        return RequestSteps(self.k, self.drafted, self.accepted)

    @property
    def tpot_s(self) -> float | None:
        """Decode time per token after the first; None where there was no such token, or no time."""
        return self.decode_s / (self.tokens - 1) if self.tokens > 1 and self.decode_s > 0 else None

    @property
    def context(self) -> float:
        """Tokens of context half-way through the answer."""
        return self.prompt_tokens + self.tokens / 2

    @property
    def occasion(self) -> object:
        """Equal for answers that were decoded at once; where nobody knows, for those of one prompt."""
        return self.prompt if self.block is None else self.block

    @property
    def as_asked(self) -> bool:
        """Whether the service decoded it on the pool and with the k that were asked for."""
        return (self.profile, self.k) == (self.side.profile, self.side.k)

    def cell(self, profile: str) -> CellKey:
        """The tenant's cell of `profile` that it is evidence for."""
        return CellKey(profile, self.task, temperature_bucket(self.side.temperature), self.tenant)

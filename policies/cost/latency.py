"""What surrounds a step in a completion time: how long answers and prompts get, and how long one waits.

All estimators are told the time, forget by half-lives, and hold a bounded number of keys. Numbers that cannot
be true are ignored.
"""

from __future__ import annotations

import math
from typing import Final

from policies.cost.decayed import DecayedRatio, Ratios
from policies.cost.steps import StepLoad, StepTime

HALF_LIFE_S: Final = 1800.0

PRIOR_TOKENS: Final = 128.0
_PRIOR_ENDINGS: Final = 2.0
_TENANT_ENDINGS: Final = 10.0

_PRIOR_TOKENS_PER_BYTE: Final = 0.25
_PRIOR_BYTES: Final = 2000.0
_PRIOR_PROMPT_TOKENS: Final = 500.0

_PRIOR_SERVICES: Final = 2.0


class OutputLengths:
    """Expected output tokens per task, and per tenant within a task.

    An answer that max_tokens cut would have been longer. So lengths are taken to be geometric, whose mean
    under such censoring has a plain maximum likelihood estimate: all tokens over the answers that ended by
    themselves. A task borrows from `PRIOR_TOKENS`, a tenant from its task.
    """

    def __init__(self, *, half_life_s: float = HALF_LIFE_S, max_tenants: int = 1000) -> None:
        self._tasks: Ratios[str] = Ratios(half_life_s, max_keys=256)
        self._tenants: Ratios[tuple[str, str]] = Ratios(half_life_s, max_keys=max_tenants)

    def observe(self, task: str, tenant: str | None, tokens: int, *, cut: bool, now_s: float) -> None:
        """Note an answer of `tokens`; `cut` when a limit ended it, not the model."""
        if tokens <= 0:
            return
        endings = 0.0 if cut else 1.0
        self._tasks.add(task, tokens, endings, now_s)
        if tenant is not None:
            self._tenants.add((task, tenant), tokens, endings, now_s)

    def expected(self, task: str, tenant: str | None, max_tokens: int | None, now_s: float) -> float:
        """Expected tokens of an answer that may have up to `max_tokens`: E[min(N, max)], at least 1."""
        mean = self._tasks.toward(task, PRIOR_TOKENS, _PRIOR_ENDINGS, now_s)
        if tenant is not None:
            mean = self._tenants.toward((task, tenant), mean, _TENANT_ENDINGS, now_s)
        mean = max(1.0, mean)
        if max_tokens is None:
            return mean
        if mean == 1.0 or max_tokens <= 1:
            return 1.0
        return -mean * math.expm1(max_tokens * math.log1p(-1.0 / mean))


class PromptLengths:
    """Prompt tokens from a request's bytes, and the share of them that the prefix cache holds, per task."""

    def __init__(self, *, half_life_s: float = HALF_LIFE_S) -> None:
        self._per_byte = DecayedRatio(half_life_s)
        self._cached: Ratios[str] = Ratios(half_life_s, max_keys=256)

    def observe(
        self, task: str, request_bytes: int, prompt_tokens: int, cached_tokens: int, now_s: float
    ) -> None:
        """Note what a request's body turned out to be."""
        if request_bytes <= 0 or not 0 <= cached_tokens <= prompt_tokens or prompt_tokens == 0:
            return
        self._per_byte.add(prompt_tokens, request_bytes, now_s)
        self._cached.add(task, cached_tokens, prompt_tokens, now_s)

    def tokens(self, request_bytes: int, now_s: float) -> float:
        """Expected tokens of the prompt."""
        return request_bytes * self._per_byte.toward(_PRIOR_TOKENS_PER_BYTE, _PRIOR_BYTES, now_s)

    def uncached_tokens(self, task: str, request_bytes: int, now_s: float) -> float:
        """Expected tokens of the prompt that must be computed; the last one always is."""
        cached = self._cached.toward(task, 0.0, _PRIOR_PROMPT_TOKENS, now_s)
        return max(1.0, self.tokens(request_bytes, now_s) * (1.0 - cached))


class ServiceTimes:
    """Mean seconds a pool holds a request that it decodes, and what a full pool makes one wait."""

    def __init__(self, *, half_life_s: float = HALF_LIFE_S) -> None:
        self._seconds: Ratios[str] = Ratios(half_life_s, max_keys=256)

    def observe(self, profile: str, seconds: float, now_s: float) -> None:
        """Note how long an answer took from its first scheduling to its last token."""
        if math.isfinite(seconds) and seconds >= 0:
            self._seconds.add(profile, seconds, 1.0, now_s)

    def mean_s(self, profile: str, expected_s: float, now_s: float) -> float:
        """Mean seconds of a request, around what one is expected to take."""
        return self._seconds.toward(profile, expected_s, _PRIOR_SERVICES, now_s)

    def queue_wait_s(
        self, profile: str, *, in_flight: float, capacity: int, expected_s: float, now_s: float
    ) -> float:
        """Expected wait of one more request: see `queue_wait_s` below."""
        return queue_wait_s(in_flight, capacity, self.mean_s(profile, expected_s, now_s))


def queue_wait_s(in_flight: float, capacity: int, service_s: float) -> float:
    """Wait of one more request where `capacity` are served at once, in the order they came.

    A slot comes free every service_s / capacity, and all who wait go before: (in_flight - capacity + 1) times
    that. Zero while there is a slot.
    """
    ahead = in_flight - capacity + 1.0
    return max(0.0, ahead) * service_s / max(1, capacity)


def prefill_s(step_time: StepTime, uncached_tokens: float, beside: StepLoad | None = None) -> float:
    """Time to compute a prompt in the passes of an engine that decodes `beside` meanwhile."""
    load = beside or StepLoad()
    return step_time.seconds(load._replace(prefill=load.prefill + uncached_tokens))

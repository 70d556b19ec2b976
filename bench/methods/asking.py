"""Asks one prompt of one pool, and reads what the answer says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

import httpx

from bench.methods.arms import PLAIN, Arm
from bench.results import BenchError

ROUNDING: Final = 1e-3
"""Two tokens whose log-probabilities are closer may change places: float32 sums in another order."""
_TIMEOUT: Final = httpx.Timeout(900, connect=10)


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says of itself.

    Attributes:
        profile: The pool that answered, and with which k.
        reason: Why it was chosen.
        tokens: The answer's token ids.
        decode_s: From the first token to the last.
        drafted: Draft tokens verified, by step.
        accepted: Those accepted, by step.
    """

    profile: str
    k: int
    reason: str
    tokens: tuple[int, ...]
    decode_s: float
    drafted: tuple[int, ...]
    accepted: tuple[int, ...]

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first; None for an answer of one."""
        return self.decode_s / (len(self.tokens) - 1) if len(self.tokens) > 1 else None


class Asker:
    """Asks one service, greedily."""

    def __init__(self, url: str, *, max_tokens: int, transport: httpx.BaseTransport | None = None) -> None:
        """`transport` stands in for the network in tests."""
        self._max_tokens = max_tokens
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False, transport=transport)
        self._model: str | None = None

    def close(self) -> None:
        """Give the connections up."""
        self._client.close()

    def ask(self, text: str, arm: Arm) -> Told:
        """The answer of this arm.

        Raises:
            BenchError: There is none, or another arm gave it.
        """
        headers = {
            "X-Specroute-Route": "speculative" if arm.k else "vanilla",
            "X-Specroute-Profile": arm.method,
            **({"X-Specroute-K": str(arm.k)} if arm.k else {}),
        }
        told = self.told(text, headers)
        if (told.profile, told.k) != arm or told.reason != "override":
            raise BenchError(f"{arm.name} was asked, {told.profile} k={told.k} answered ({told.reason})")
        return told

    def told(self, text: str, headers: dict[str, str]) -> Told:
        """The answer of whoever these headers choose.

        Raises:
            BenchError: There is none, or one without its account.
        """
        answer = self._answer(text, headers, {"return_token_ids": True})
        try:
            details = answer["specroute"]
            return Told(
                profile=str(details["profile"]),
                k=int(details["k"]),
                reason=str(details["reason"]),
                tokens=tuple(answer["choices"][0]["token_ids"]),
                decode_s=float(details["measured_s"] or 0.0),
                drafted=tuple(details["per_step_drafted"]),
                accepted=tuple(details["per_step_accepted"]),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise BenchError(f"an answer without its account ({error!r}): is this specroute?") from error

    def gap(self, text: str, plain: Sequence[int], other: Sequence[int]) -> float | None:
        """How far apart the two best tokens are where two answers first part, in log-probability.

        As plain decoding sees it, asked anew; None where the answers are equal.

        Raises:
            BenchError: The plain pool does not say.
        """
        pairs = zip_longest(plain, other)
        place = next((at for at, (mine, theirs) in enumerate(pairs) if mine != theirs), None)
        if place is None:
            return None
        headers = {"X-Specroute-Route": "vanilla", "X-Specroute-Profile": PLAIN}
        answer = self._answer(text, headers, {"logprobs": True, "top_logprobs": 2})
        try:
            best = answer["choices"][0]["logprobs"]["content"][place]["top_logprobs"]
            return abs(float(best[0]["logprob"]) - float(best[1]["logprob"]))
        except (LookupError, TypeError, ValueError) as error:
            raise BenchError(f"log-probabilities were asked for and did not come ({error!r})") from error

    def _answer(self, text: str, headers: dict[str, str], more: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._model is None:
                self._model = str(self._client.get("/v1/models").raise_for_status().json()["data"][0]["id"])
            body = {
                "model": self._model,
                "messages": [{"role": "user", "content": text}],
                "temperature": 0,
                "max_tokens": self._max_tokens,
                **more,
            }
            response = self._client.post(
                "/v1/chat/completions", json=body, headers={"X-Specroute-Details": "1", **headers}
            )
            found: dict[str, Any] = response.raise_for_status().json()
        except httpx.HTTPStatusError as error:
            said = " ".join(error.response.text.split())[:300]
            raise BenchError(f"HTTP {error.response.status_code}: {said}") from error
        except (httpx.HTTPError, LookupError, ValueError) as error:
            raise BenchError(f"the service does not answer ({error!r})") from error
        return found

"""Sends prompts to a service, and reads what their answers say of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

from policies.calibrating import Measured, Side
from policies.replay import replay
from router.calibrating.prompts import Prompt
from router.calibrating.service import CONNECT_S, Facts, key_header, one_line
from router.requests import LEAST_WEIGHT

_ANSWER_S: Final = 600.0
_TRIES: Final = 4
_LATER: Final = frozenset({429, 503})


class AnswerError(Exception):
    """One request that was not answered as it should have been; one line.

    `refused` is whether the service found fault with the request itself: another prompt may fare better.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class Asker:
    """Sends prompts. Use as an async context manager."""

    def __init__(
        self,
        url: str,
        found: Facts,
        *,
        max_tokens: int,
        api_key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is sent yet. `transport` stands in for the network in tests."""
        self._facts = found
        self._max_tokens = max_tokens
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/"),
            headers=key_header(api_key),
            timeout=httpx.Timeout(_ANSWER_S, connect=CONNECT_S),
            transport=transport,
            trust_env=False,
            limits=httpx.Limits(max_connections=None),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    def body(self, prompt: Prompt, side: Side) -> dict[str, Any]:
        """The request. Token ids are asked for where drafts can be replayed with them."""
        wanted = {"return_token_ids": True} if self._facts.lookups and self._facts.max_model_len else {}
        return {
            "model": self._facts.model,
            "messages": list(prompt.messages),
            "max_tokens": prompt.max_tokens or self._max_tokens,
            "temperature": side.temperature,
            "top_p": side.top_p,
            **wanted,
        }

    async def ask(self, prompt: Prompt, side: Side, *, weight: float = 1.0) -> Measured:
        """One answer on one side, which the service learns from as from `weight` requests.

        Raises:
            AnswerError: There is none, or one without its account.
        """
        headers = {
            "X-Specroute-Details": "1",
            "X-Specroute-Route": "speculative" if side.k else "vanilla",
            "X-Specroute-Profile": side.profile,
            **({"X-Specroute-K": str(side.k)} if side.k else {}),
            **({"X-Specroute-Task": prompt.task} if prompt.task else {}),
            **({"X-Specroute-Weight": f"{max(LEAST_WEIGHT, weight):.4f}"} if weight < 1 else {}),
        }
        answer = await self._answer(prompt.id, self.body(prompt, side), headers)
        try:
            told = answer["specroute"]
            if told["reason"] != "override":
                raise AnswerError(
                    f"{prompt.id}: the service decided itself ({told['reason']}): does its policy still say "
                    "allow_overrides: true?"
                )
            if told["failovers"] or told["per_step_accepted"] is None or told["measured_s"] is None:
                raise AnswerError(f"{prompt.id}: its steps are not complete")
            return Measured(
                prompt=prompt.id,
                domain=prompt.domain,
                side=side,
                task=str(told["task"]),
                tenant=str(told["tenant"]),
                profile=str(told["profile"]),
                k=int(told["k"]),
                prompt_tokens=int(answer["usage"]["prompt_tokens"]),
                tokens=int(told["completion_tokens"]),
                decode_s=float(told["measured_s"]),
                ttft_s=float(told["ttft_s"] or 0.0),
                drafted=tuple(map(int, told["per_step_drafted"])),
                accepted=tuple(map(int, told["per_step_accepted"])),
                replays=self._replays(answer),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise AnswerError(f"{prompt.id}: the answer has no account of itself ({error!r})") from None

    async def _answer(
        self, name: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Mapping[str, Any]:
        for more in reversed(range(_TRIES)):
            try:
                response = await self._client.post("/v1/chat/completions", json=body, headers=dict(headers))
            except httpx.HTTPError as error:
                raise AnswerError(one_line(str(error)) or type(error).__name__) from None
            if response.status_code in _LATER and more:
                await asyncio.sleep(_wait_s(response))
                continue
            break
        try:
            found = response.json()
        except ValueError:
            found = None
        if response.is_error or not isinstance(found, dict):
            message = found.get("error", found) if isinstance(found, dict) else response.text
            told = message.get("message", message) if isinstance(message, dict) else message
            raise AnswerError(
                f"{name}: HTTP {response.status_code}: {one_line(str(told))}",
                refused=response.is_client_error and response.status_code not in _LATER,
            )
        return found

    def _replays(self, answer: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
        """What each n-gram drafter would have done for the answer, where its tokens are told."""
        prompt, tokens = answer.get("prompt_token_ids"), answer["choices"][0].get("token_ids")
        longest = self._facts.max_model_len
        if not prompt or not tokens or longest is None:
            return {}
        largest = {pool.profile: pool.max_k for pool in self._facts.pools}
        return {
            profile: replay(prompt, tokens, lookup, largest[profile], max_model_len=longest).counters()
            for profile, lookup in self._facts.lookups.items()
            if largest.get(profile)
        }


def _wait_s(response: httpx.Response) -> float:
    given = response.headers.get("retry-after", "")
    return float(min(30, int(given))) if given.isdecimal() else 2.0

"""A seeded engine with the same protocol and no vLLM: for tests of what is around engines, and for benches.

It answers chat and text completions in OpenAI's form, with words for tokens. Its drafter's acceptance is set
per profile, or per request through `metadata.fake_alpha`, so that what a router learns can be compared with
the truth. With `copying` the truth lies in the words instead: answers repeat passages, which n-gram profiles
look up as real ones do.
"""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from policies.cost import StepLoad, StepRecorder
from replicas.fake_words import answer_ids, copied_steps, lucky_steps, prompt_ids, text_of
from replicas.frames import Call, Ending, Frame, Load, ReplicaError, packed
from replicas.profiles import ModelSpec, Profile


class FakeSettings(BaseModel):
    """What a fake engine pretends: times in milliseconds, rates as probabilities."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(0.7, ge=0, le=1)
    coverage: float = Field(1.0, ge=0, le=1)
    copying: bool = Field(
        False,
        description="Drafts are n-gram lookups, not luck; alpha is how likely an answer goes on copying.",
    )
    prefill_ms: float = Field(5.0, ge=0)
    step_ms: float = Field(5.0, ge=0)
    per_request_ms: float = Field(
        0.0, ge=0, description="What a step takes longer for every further request."
    )
    start_s: float = Field(0.0, ge=0)


class FakeEngine:
    """Implements `replicas.frames.Engine`."""

    def __init__(self, profile: Profile, model: ModelSpec, settings: FakeSettings) -> None:
        self._profile = profile
        self._model = model
        self._settings = settings
        self._running = 0
        self._dead = False
        self.steps = StepRecorder(profile.step_cost.seed(max(1e-3, settings.step_ms / 1000)))
        """See `Engine.steps`. Every request decodes in passes of its own, which others slow down."""

    async def serve(self, call: Call) -> AsyncGenerator[Frame, None]:
        """Answer one call; see `Engine.serve`."""
        await self.check_health()
        if call.path == "/v1/models":
            listed = {"object": "list", "data": [{"id": self._model.name, "object": "model"}]}
            yield self._whole(200, listed)
            return
        try:
            body = _validated(call, self._model)
        except _RefusedError as refused:
            yield self._whole(refused.status, {"error": refused.error})
            return
        self._running += 1
        try:
            async with aclosing(self._answer(call, body)) as frames:
                async for frame in frames:
                    yield frame
        finally:
            self._running -= 1

    def _whole(self, status: int, body: Mapping[str, Any]) -> Frame:
        return Frame(
            json.dumps(body).encode(),
            status=status,
            content_type="application/json",
            ending=_NOTHING,
            load=self.load(),
        )

    async def _answer(self, call: Call, body: Mapping[str, Any]) -> AsyncGenerator[Frame, None]:
        # Drafts are lucky by the request, words are the prompt's: the same whatever k, streamed or whole.
        rng = Random(zlib.crc32(call.body))
        prompt = prompt_ids(body)
        words = Random(zlib.crc32(packed(prompt)))
        wanted = _wanted_tokens(body)
        k = min(call.k, self._profile.k)
        metadata = body.get("metadata")
        alpha = float(
            (metadata if isinstance(metadata, dict) else {}).get("fake_alpha", self._settings.alpha)
        )
        form = _Form(call, body, self._model.name, packed(prompt) if call.prompt_tokens else b"")
        started = time.monotonic()
        settings = self._settings
        await asyncio.sleep(settings.prefill_ms / 1000)
        first = time.monotonic()
        self.steps.record(StepLoad(prefill=len(prompt)), first - started)
        ids = answer_ids(words, prompt, wanted, copied=alpha if settings.copying else None)
        steps = (
            copied_steps(prompt, ids, self._profile, self._model, k=k)
            if settings.copying
            else lucky_steps(rng, wanted, k=k, alpha=alpha, coverage=settings.coverage)
        )
        drafted: list[int] = []
        accepted: list[int] = []
        sent = 1
        if form.stream:
            yield form.first_frame(ids[:1])
        for proposed, run in steps:
            await self.check_health()
            await self._pass(proposed, k, context=len(prompt) + sent)
            drafted.append(proposed)
            accepted.append(run)
            kept = run + 1
            if form.stream:
                yield Frame(form.event(ids[sent : sent + kept]), token_ids=tuple(ids[sent : sent + kept]))
            sent += kept
        ending = Ending(
            finish_reason="length",
            prompt_tokens=len(prompt),
            cached_tokens=0,
            completion_tokens=wanted,
            per_step_drafted=tuple(drafted),
            per_step_accepted=tuple(accepted),
            counted=True,
            queued_s=0.0,
            ttft_s=first - started,
            decode_s=time.monotonic() - first,
        )
        yield form.last_frame(ids, ending)._replace(load=self.load())

    async def _pass(self, drafted: int, k: int, *, context: int) -> None:
        """Take the time of one decode step beside all running requests, and record it."""
        cost, running = self._profile.step_cost, self._running
        milliseconds = self._settings.step_ms * cost.plain_steps(drafted=drafted, asked=k)
        milliseconds += self._settings.per_request_ms * (running - 1)
        began = time.monotonic()
        await asyncio.sleep(milliseconds / 1000)
        asked = k if cost.per_draft_token else 0
        load = StepLoad(running, 1.0 if drafted else 0.0, drafted, asked, context)
        self.steps.record(load, time.monotonic() - began)

    def load(self) -> Load:
        """Requests in flight here, and most decoded at once."""
        return Load(self._running, self._profile.max_num_seqs)

    async def check_health(self) -> None:
        """Raise ReplicaError after `shutdown`."""
        if self._dead:
            raise ReplicaError("the fake engine was shut down")

    def shutdown(self) -> None:
        """Stop answering; running requests fail."""
        self._dead = True


_NOTHING = Ending(None, 0, 0, 0, (), (), False, None, None, None)


_DEFAULT_TOKENS = 32


class _RefusedError(Exception):
    """A request that is answered with an error object."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": kind, "param": None, "code": status}


def _validated(call: Call, model: ModelSpec) -> dict[str, Any]:
    try:
        body = json.loads(call.body)
    except (ValueError, RecursionError) as error:
        raise _RefusedError(400, "Bad Request", f"JSON decode error: {error}") from error
    if not isinstance(body, dict):
        raise _RefusedError(400, "Bad Request", "Input should be a valid dictionary")
    if body.get("model") not in {None, model.name}:
        raise _RefusedError(404, "NotFoundError", f"The model `{body['model']}` does not exist.")
    if "messages" not in body and "prompt" not in body:
        raise _RefusedError(400, "Bad Request", "messages: Field required")
    wanted = _wanted_tokens(body)
    if not isinstance(wanted, int) or wanted < 1:
        raise _RefusedError(400, "BadRequestError", f"max_tokens must be at least 1, got {wanted!r}")
    return body


def _wanted_tokens(body: Mapping[str, Any]) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        if (wanted := body.get(name)) is not None:
            return wanted  # type: ignore[no-any-return] # _validated has seen to it
    return _DEFAULT_TOKENS


class _Form:
    """The shape of an answer: chat or text, streamed or whole."""

    def __init__(self, call: Call, body: Mapping[str, Any], model: str, prompt: bytes) -> None:
        self._chat = call.path.endswith("/chat/completions")
        self._details = call.details
        self.stream = body.get("stream") is True
        options = body.get("stream_options")
        self._usage = call.details or (isinstance(options, dict) and options.get("include_usage") is True)
        self._prompt = prompt
        kind = "chat.completion" if self._chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{call.request_id}",
            "object": kind + (".chunk" if self._chat and self.stream else ""),
            "created": int(time.time()),
            "model": model,
        }

    def event(self, ids: list[int], finish: str | None = None) -> bytes:
        text = text_of(ids)
        part = {"delta": {"content": text}} if self._chat else {"text": text}
        return _sse({**self._head, "choices": [{"index": 0, **part, "finish_reason": finish}]})

    def first_frame(self, ids: list[int]) -> Frame:
        role = {"delta": {"role": "assistant", "content": ""}}
        opening = (
            _sse({**self._head, "choices": [{"index": 0, **role, "finish_reason": None}]})
            if self._chat
            else b""
        )
        return Frame(
            opening + self.event(ids),
            token_ids=tuple(ids),
            status=200,
            content_type="text/event-stream",
            prompt_token_ids=self._prompt,
        )

    def last_frame(self, ids: list[int], ending: Ending) -> Frame:
        usage = {
            "prompt_tokens": ending.prompt_tokens,
            "completion_tokens": ending.completion_tokens,
            "total_tokens": ending.prompt_tokens + ending.completion_tokens,
        }
        if not self.stream:
            text = text_of(ids)
            part = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
            choice = {"index": 0, **part, "finish_reason": ending.finish_reason}
            data = json.dumps({**self._head, "choices": [choice], "usage": usage}).encode()
            splice = len(data) - 1 if self._details else None
            return Frame(
                data, tuple(ids), 200, "application/json", splice, ending, prompt_token_ids=self._prompt
            )
        data = self.event([], ending.finish_reason)
        splice = None
        if self._usage:
            data += _sse({**self._head, "choices": [], "usage": usage})
            splice = len(data) - 3 if self._details else None
        return Frame(data + b"data: [DONE]\n\n", splice_at=splice, ending=ending)


def _sse(event: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"

"""A seeded engine with the same protocol and no vLLM: for tests of what is around engines, and for benches.

It answers chat and text completions in OpenAI's form, with words for tokens. Its drafter's acceptance is set
per profile, or per request through `metadata.fake_alpha`, so that what a router learns can be compared with
the truth. With `copying` the truth lies in the words instead: answers repeat passages, which n-gram profiles
look up as real ones do.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from policies.cost import StepLoad, StepRecorder
from replicas.fake_form import FakeForm
from replicas.fake_pace import Pace
from replicas.fake_words import answer_ids, copied_steps, lucky_steps, prompt_ids
from replicas.frames import Call, Ending, Frame, Load, ReplicaError, joined, packed, unpacked
from replicas.profiles import ModelSpec, Profile


class FakeSettings(BaseModel):
    """What a fake engine pretends: times in milliseconds, rates as probabilities."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(0.7, ge=0, le=1, description="How likely a draft token is accepted.")
    coverage: float = Field(1.0, ge=0, le=1, description="How likely a step has a draft at all.")
    copying: bool = Field(
        False,
        description="Drafts are n-gram lookups, not luck; alpha is how likely an answer goes on copying.",
    )
    prefill_ms: float = Field(5.0, ge=0, description="Reading a prompt.")
    step_ms: float = Field(5.0, ge=0, description="A decode step.")
    per_request_ms: float = Field(
        0.0, ge=0, description="What a step takes longer for every further request."
    )
    on_time: bool = Field(
        False,
        description="Passes keep to a schedule, as in a process of their own, and wait for no reader.",
    )
    start_s: float = Field(0.0, ge=0, description="How long it takes to start.")


class FakeEngine:
    """Implements `replicas.frames.Engine`."""

    def __init__(self, profile: Profile, model: ModelSpec, settings: FakeSettings) -> None:
        self._profile = profile
        self._model = model
        self._settings = settings
        self._running = 0
        self._recorded_s = -math.inf
        self._dead = False
        self.steps = StepRecorder(profile.step_cost.seed(max(1e-3, settings.step_ms / 1000)))
        """See `Engine.steps`. Every request decodes in passes of its own, which others slow down.

        With `on_time` they are those of one batch, as a real engine's are.
        """

    async def serve(self, call: Call) -> AsyncGenerator[Frame, None]:
        """Answer one call; see `Engine.serve`."""
        pace = Pace(on_time=self._settings.on_time)
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
            async with aclosing(self._answer(call, body, pace)) as frames:
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

    async def _answer(self, call: Call, body: Mapping[str, Any], pace: Pace) -> AsyncGenerator[Frame, None]:
        # Drafts are lucky by the request, words are the prompt's: the same whatever k, streamed or whole.
        rng = Random(zlib.crc32(call.body))
        prompt = prompt_ids(body) if call.resume is None else unpacked(call.resume.prompt_token_ids)
        words = Random(zlib.crc32(packed(prompt)))
        wanted = _wanted_tokens(body)
        k = min(call.k, self._profile.k)
        alpha = _alpha(body.get("metadata"), self._settings.alpha)
        form = FakeForm(call, body, self._model.name, packed(prompt) if call.prompt_tokens else b"")
        started = time.monotonic()
        settings = self._settings
        await pace.spend(settings.prefill_ms / 1000)
        first = time.monotonic()
        ids = answer_ids(words, prompt, wanted, copied=alpha if settings.copying else None)
        done = _done(call, ids)
        self.steps.record(StepLoad(prefill=len(prompt) + done), first - started)
        steps = (
            copied_steps([*prompt, *ids[:done]], ids[done:], self._profile, self._model, k=k)
            if settings.copying
            else lucky_steps(rng, wanted - done, k=k, alpha=alpha, coverage=settings.coverage)
        )
        drafted: list[int] = []
        accepted: list[int] = []
        sent = done + 1
        # The last tokens come with the ending: a stream without it lacks some.
        held = form.first_frame(ids[done:sent]) if form.stream else None
        asked = self._profile.k if self._profile.drafts_all_k else k
        for proposed, run in steps:
            pass_s = self._pass_s(proposed, asked)
            if held is not None and not pace.late(pass_s):  # else the next tokens are ready, too
                yield held
                held = None
            await self.check_health()
            work = asked if self._profile.step_cost.per_draft_token else 0
            load = StepLoad(self._running, 1.0 if proposed else 0.0, proposed, work, len(prompt) + sent)
            took_s = await pace.spend(pass_s)
            if self._is_next_pass(pace.over_s, pass_s):
                self.steps.record(load, took_s)
            drafted.append(proposed)
            accepted.append(run)
            kept = run + 1
            if form.stream:
                frame = Frame(form.event(ids[sent : sent + kept]), token_ids=tuple(ids[sent : sent + kept]))
                held = frame if held is None else joined([held, frame])
            sent += kept
        ending = Ending(
            finish_reason="length",
            prompt_tokens=len(prompt),
            cached_tokens=0,
            completion_tokens=wanted,
            per_step_drafted=tuple(drafted),
            per_step_accepted=tuple(accepted),
            counted=True,
            queued_s=None if done else 0.0,
            ttft_s=None if done else first - started,
            decode_s=None if done else time.monotonic() - first,
            continued_after=done,
        )
        last = form.last_frame(ids, ending)._replace(load=self.load())
        yield last if held is None else joined([held, last])

    def _is_next_pass(self, over_s: float, pass_s: float) -> bool:
        """Whether nobody recorded this one: with `on_time`, requests that run together share their passes."""
        if self._settings.on_time and over_s - self._recorded_s < pass_s / 2:
            return False
        self._recorded_s = over_s
        return True

    def _pass_s(self, drafted: int, asked: int) -> float:
        """How long one decode step takes beside all running requests."""
        plain = self._profile.step_cost.plain_steps(drafted=drafted, asked=asked)
        return (self._settings.step_ms * plain + self._settings.per_request_ms * (self._running - 1)) / 1000

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
_MOST_TOKENS = 100_000


def _alpha(metadata: object, otherwise: float) -> float:
    """The acceptance that a request asks the fake for, or else the fake's own."""
    given = metadata.get("fake_alpha") if isinstance(metadata, dict) else None
    return float(given) if isinstance(given, int | float) and 0 <= given <= 1 else otherwise


def _done(call: Call, ids: list[int]) -> int:
    """How many of the answer's tokens the client has. Raises ReplicaError when those are other tokens."""
    if call.resume is None:
        return 0
    done = unpacked(call.resume.token_ids)
    if ids[: len(done)] != done or len(done) >= len(ids):
        raise ReplicaError("the answer to go on with is not this one, or it is complete")
    return len(done)


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
    named = body.get("model")
    if not isinstance(named, str | None):
        raise _RefusedError(400, "Bad Request", "model: Input should be a valid string")
    if named not in {None, model.name}:
        raise _RefusedError(404, "NotFoundError", f"The model `{named}` does not exist.")
    if "messages" not in body and "prompt" not in body:
        raise _RefusedError(400, "Bad Request", "messages: Field required")
    wanted = _wanted_tokens(body)
    if not isinstance(wanted, int) or not 1 <= wanted <= _MOST_TOKENS:
        raise _RefusedError(
            400, "BadRequestError", f"max_tokens must be from 1 to {_MOST_TOKENS}, got {wanted!r}"
        )
    return body


def _wanted_tokens(body: Mapping[str, Any]) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        if (wanted := body.get(name)) is not None:
            return wanted  # type: ignore[no-any-return] # _validated has seen to it
    return _DEFAULT_TOKENS

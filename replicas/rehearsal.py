"""What an engine does while nobody asks it for anything: small answers on every k, to learn what passes cost.

Traffic may never tell. An engine that is always asked for the same k shows the price of all its drafts
together, and a shorter draft looks as dear as the profile's guess makes it; then nobody asks for one. The
first few requests are all short, and what a long context costs is a line through their noise. So an engine
times passes without drafts, with few and with many, and with a longer context itself, and the router takes
how they compare for evidence beside its traffic's (`router.costs`).

Other processes start beside it, with which it shares cores, memory and disk, so a round is repeated until
three took about the same: the quickest, because whatever else runs makes passes longer and never shorter. A
client's request ends a round at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from http import HTTPStatus
from random import Random
from typing import Any, Final, NamedTuple

from policies.cost import StepLoad, StepMoments, StepRecorder
from replicas.frames import Call, Engine, ReplicaError
from replicas.profiles import Profile

_log = logging.getLogger(__name__)

_WARM_TOKENS: Final = 8
_TIMED_TOKENS: Final = 16
_SHORT: Final = 11
_LONG: Final = 128
"""Numbers in a prompt, each about two tokens."""

_ROUNDS: Final = 3
_ALIKE: Final = 1.1
"""Rounds that take no more than so many times as long as the quickest are as good as it."""
_MOST_ROUNDS: Final = 6
_CALM_S: Final = (0.5, 2.5)
"""Between two rounds. Engines that share a core should not always meet."""

Passes = list[tuple[StepLoad, float]]


async def warm_up(engine: Engine, profile: Profile) -> None:
    """Answer a small request on every k, so that no client pays for first-time set-up.

    Raises:
        ReplicaError: The engine cannot answer.
    """
    for k in rehearsed_ks(profile):
        await _answer(engine, k, _WARM_TOKENS)
    engine.steps.clear()  # first passes are slow


def rehearsed_ks(profile: Profile) -> tuple[int, ...]:
    """Plain decoding, and where there is a drafter its shortest drafts and its longest."""
    return tuple(sorted({0, min(1, profile.k), min(2, profile.k), profile.k}))


class _Round(NamedTuple):
    seconds: float
    passes: Passes


class Rehearsal:
    """Times an engine's passes on every k of `rehearsed_ks` while it is idle."""

    def __init__(
        self,
        engine: Engine,
        profile: Profile,
        *,
        pause: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self._engine = engine
        self._profile = profile
        self._pause = pause
        self._pauses = Random(profile.name)
        self.moments = StepMoments.empty()
        """Of its passes, all of one request; empty until it is over."""
        self.in_flight = 0
        """Its own requests at the engine."""

    async def run(self) -> None:
        """Rehearse, for some seconds where the machine is calm; an engine that fails meanwhile ends it."""
        rounds: list[_Round] = []
        try:
            while len(rounds) < _MOST_ROUNDS:
                await self._pause(self._pauses.uniform(*_CALM_S))
                if self._engine.load().running == 0 and (one := await self._round()) is not None:
                    rounds.append(one)
                    if _agree(_best(rounds)):
                        break
        except ReplicaError as error:
            _log.info("the rehearsal was broken off: %s", error)
            return
        recorder = StepRecorder(self._profile.step_cost.seed())
        for one in _best(rounds):
            for load, seconds in one.passes:
                recorder.record(load, seconds)
        self.moments = recorder.moments

    async def _round(self) -> _Round | None:
        """An answer on every k, and one to a longer prompt; None where a client came."""
        self.in_flight = 1
        try:
            with self._engine.steps.apart() as recorded:
                ks = rehearsed_ks(self._profile)
                for k, numbers in (*((k, _SHORT) for k in ks), (0, _LONG)):
                    if not await _answer(self._engine, k, _TIMED_TOKENS, numbers=numbers, alone=True):
                        return None
        finally:
            self.in_flight = 0
        # Prompts are in the prefix cache from the second round on, so they are no part of what rounds take.
        seconds = sum(seconds for load, seconds in recorded if not load.prefill)
        return _Round(seconds, recorded) if seconds > 0 else None


def _best(rounds: list[_Round]) -> list[_Round]:
    return sorted(rounds, key=lambda one: one.seconds)[:_ROUNDS]


def _agree(rounds: list[_Round]) -> bool:
    return len(rounds) == _ROUNDS and rounds[-1].seconds <= _ALIKE * rounds[0].seconds


async def _answer(engine: Engine, k: int, tokens: int, *, numbers: int = _SHORT, alone: bool = False) -> bool:
    """Have a prompt continued whose continuation copying drafters can guess as well; whether it was.

    With `alone` it is given up as soon as there is another request.
    """
    body = {
        "prompt": " ".join(str(1 + place % 4) for place in range(numbers)),
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }
    call = Call("rehearsal", "/v1/completions", json.dumps(body).encode(), k)
    async with aclosing(engine.serve(call)) as frames:
        async for frame in frames:
            if frame.status not in {0, HTTPStatus.OK}:
                if numbers > _SHORT:  # more than fits into the model's context
                    return True
                raise ReplicaError(f"the engine cannot answer: {frame.data.decode(errors='replace')}")
            if alone and engine.load().running > 1:
                return False
    return True

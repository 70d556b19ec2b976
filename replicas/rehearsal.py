"""What an engine does while nobody asks it for anything: small answers on every k, to learn what passes cost.

Traffic may never tell. An engine that is always asked for the same k shows the price of all its drafts
together, and a shorter draft looks as dear as the profile's guess makes it; then nobody asks for one. The
first few requests are all short, and what a long context costs is a line through their noise. So an engine
times passes without drafts, with few and with many, and with a longer context itself, and the router takes
how they compare for evidence beside its traffic's (`policies.cost.Rehearsals`).

It does so while its machine is quiet (`replicas.quiet`), so nobody waits for it, and a client's request to
any engine there ends a round at once. What else runs makes passes longer and never shorter: rounds go on
until the quickest three took about the same.
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
from replicas.quiet import Quiet

_log = logging.getLogger(__name__)

_WARM_TOKENS: Final = 8
_TIMED_TOKENS: Final = 16
_SHORT: Final = 11
_LONG: Final = 128
"""Numbers in a prompt, each about two tokens."""

_ROUNDS: Final = 3
_ALIKE: Final = 1.1
"""Rounds that take no more than so many times as long as the quickest are as good as it."""
_MOST_ROUNDS: Final = 12
_PAUSE_S: Final = (0.2, 1.0)
"""Between two rounds, so that engines take turns."""

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
        quiet: Quiet,
        *,
        pause: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self._engine = engine
        self._profile = profile
        self._quiet = quiet
        self._pause = pause
        self._pauses = Random(profile.name)
        self.moments = StepMoments.empty()
        """Of its passes, all of one request; empty until it is over."""
        self.in_flight = 0
        """Its own requests at the engine."""
        self.over = False

    async def run(self) -> None:
        """Rehearse, for some seconds where the machine is quiet; an engine that fails meanwhile ends it."""
        rounds: list[_Round] = []
        try:
            while len(rounds) < _MOST_ROUNDS:
                await self._pause(self._pauses.uniform(*_PAUSE_S))
                if (one := await self._round()) is not None:
                    rounds.append(one)
                    if _agree(_best(rounds)):
                        break
        except ReplicaError as error:
            _log.info("the rehearsal was broken off: %s", error)
            return
        finally:
            self.over = True
        recorder = StepRecorder(self._profile.step_cost.seed())
        for one in _best(rounds):
            for load, seconds in one.passes:
                recorder.record(load, seconds)
        self.moments = recorder.moments

    async def _round(self) -> _Round | None:
        """An answer on every k, and one to a longer prompt; None where a client came, or others are about."""
        ks = rehearsed_ks(self._profile)
        with self._quiet.alone() as alone, self._engine.steps.apart() as recorded:
            if not alone:
                return None
            for k, numbers in (*((k, _SHORT) for k in ks), (0, _LONG)):
                if not self._undisturbed(0):
                    return None
                self.in_flight = 1
                try:
                    done = await _answer(
                        self._engine, k, _TIMED_TOKENS, numbers=numbers, go_on=lambda: self._undisturbed(1)
                    )
                finally:
                    self.in_flight = 0
                if not done:
                    return None
        # Prompts are in the prefix cache from the second round on, so they are no part of what rounds take.
        seconds = sum(seconds for load, seconds in recorded if not load.prefill)
        return _Round(seconds, recorded) if seconds > 0 else None

    def _undisturbed(self, own: int) -> bool:
        return self._engine.load().running <= own and self._quiet.now()


def _best(rounds: list[_Round]) -> list[_Round]:
    return sorted(rounds, key=lambda one: one.seconds)[:_ROUNDS]


def _agree(rounds: list[_Round]) -> bool:
    return len(rounds) == _ROUNDS and rounds[-1].seconds <= _ALIKE * rounds[0].seconds


async def _answer(
    engine: Engine, k: int, tokens: int, *, numbers: int = _SHORT, go_on: Callable[[], bool] = lambda: True
) -> bool:
    """Have a prompt continued that copying drafters can guess as well; whether it was, to the end."""
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
            if not go_on():
                return False
    return True

"""Finished answers, replayed for the pools whose drafters copy: off the path, in a bounded share of a core.

Whatever pool wrote an answer, its token ids say how every k of an n-gram drafter would have done on it
(policies/replay.py). So a task that never speculates still yields evidence.
"""

from __future__ import annotations

import asyncio
import logging
import time
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from policies.cells import Origin
from policies.replay import Lookup, Replayed, replay_each
from replicas.frames import Ending, Frame
from replicas.profiles import ModelSpec, Profile

_log = logging.getLogger(__name__)

_COMPLETE = frozenset({"stop", "length"})


class CopyingPool(NamedTuple):
    """What the replay of one pool's drafter depends on."""

    profile: str
    lookup: Lookup
    max_k: int
    max_model_len: int


def copying_pools(profiles: Iterable[Profile], model: ModelSpec) -> tuple[CopyingPool, ...]:
    """The pools whose drafter copies from the text so far."""
    return tuple(
        CopyingPool(
            profile.name,
            Lookup(profile.prompt_lookup.min, profile.prompt_lookup.max),
            profile.k,
            model.max_model_len,
        )
        for profile in profiles
        if profile.method == "ngram"
    )


@dataclass(slots=True)
class Transcript:
    """The token ids of one answer, as its frames bring them."""

    prompt: bytes = b""
    answer: array[int] = field(default_factory=lambda: array("I"))
    readable: bool = True
    """Whether all of them were token ids. What else a frame has is still good for its client."""

    def note(self, frame: Frame) -> None:
        """Take a frame's tokens."""
        if not self.readable:
            return
        try:
            self.answer.extend(frame.token_ids)
            self.prompt = self.prompt or frame.prompt_token_ids
            self.readable = len(self.prompt) % self.answer.itemsize == 0
        except (OverflowError, TypeError):
            self.readable = False
        if not self.readable:
            self.prompt, self.answer = b"", array("I")

    def is_whole(self, ending: Ending) -> bool:
        """Whether every token is here and the target was not interrupted.

        Never for several choices or beam search: those have no finish reason, no prompt or too few tokens.
        """
        return (
            ending.finish_reason in _COMPLETE
            and bool(self.prompt)
            and len(self.answer) == ending.completion_tokens
        )


class ReplayLimits(NamedTuple):
    """How much replaying may cost."""

    core_share: float = 0.05
    """Of one core, over any time that is long beside one replay."""
    waiting: int = 64
    """Answers that wait; when there are more the oldest are dropped."""
    tokens: int = 131_072
    """Longest prompt and answer together; longer ones are skipped."""


DEFAULT_LIMITS = ReplayLimits()


@dataclass(slots=True)
class ReplayTotals:
    """What became of the finished answers."""

    replayed: int = 0
    dropped: int = 0
    """More answers came than the share of a core can replay."""
    too_long: int = 0
    failed: int = 0


ReplaySink = Callable[[str, Origin, Mapping[str, float], float], object]
"""Takes a pool's profile, whose answer it was, its counters there and the time: `Learner.record_replay`."""

_Found = tuple[str, Mapping[str, float]]
"""A pool's profile, and the counters of one answer there."""


class _Waiting(NamedTuple):
    transcript: Transcript
    origin: Origin


class Replayer:
    """Replays answers in a thread, one after the other, and rests in between to keep to its share of a core.

    The queue is short and keeps the newest: under load the replayed answers are a sample of the recent ones,
    whatever their task. Counters reach `sink` in the event loop's thread.
    """

    def __init__(
        self,
        pools: Iterable[CopyingPool],
        sink: ReplaySink,
        *,
        limits: ReplayLimits = DEFAULT_LIMITS,
        totals: ReplayTotals | None = None,
        clock: Callable[[], float] = time.time,
        core_timer: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._pools = tuple(pools)
        self._sink = sink
        self._limits = limits
        self._clock = clock
        self._core_timer = core_timer
        self._sleep = sleep
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self.totals = totals or ReplayTotals()

    def transcript(self) -> Transcript | None:
        """What a new request's tokens are noted in; None where no pool copies and nobody should bother."""
        return Transcript() if self._pools else None

    def submit(self, transcript: Transcript, ending: Ending, origin: Origin) -> None:
        """Queue a completed request's answer, if it can be replayed. Never waits."""
        if not self._pools or not transcript.is_whole(ending):
            return
        if len(transcript.answer) < 2:  # noqa: PLR2004 - the prefill's, and one
            return
        if ending.prompt_tokens + ending.completion_tokens > self._limits.tokens:
            self.totals.too_long += 1
            return
        if len(self._queue) >= self._limits.waiting:
            self._queue.popleft()
            self.totals.dropped += 1
        self._queue.append(_Waiting(transcript, origin))
        self._arrived.set()

    async def run(self) -> None:
        """Replay for as long as the task lives."""
        while True:
            await self._arrived.wait()
            while self._queue:
                used_s = await self._replay(self._queue.popleft())
                await self._sleep(used_s * (1 / self._limits.core_share - 1))
            self._arrived.clear()

    async def _replay(self, waiting: _Waiting) -> float:
        """Replay one answer for every pool; returns the seconds of a core this took."""
        found, used_s = await asyncio.to_thread(self._timed, waiting.transcript)
        try:
            for profile, counters in found:
                self._sink(profile, waiting.origin, counters, self._clock())
        except Exception:  # noqa: BLE001 - nor may it end for what comes of one
            _log.exception("what a replay found could not be counted")
            found = []
        if found:
            self.totals.replayed += 1
        else:
            self.totals.failed += 1
        return used_s

    def _timed(self, transcript: Transcript) -> tuple[list[_Found], float]:
        begun_s = self._core_timer()
        found: list[_Found] = []
        try:
            found = self._counters(transcript)
        except Exception:  # noqa: BLE001 - one odd answer must not end the learning from all others
            _log.exception("an answer could not be replayed")
        return found, self._core_timer() - begun_s

    def _counters(self, transcript: Transcript) -> list[_Found]:
        prompt = np.frombuffer(transcript.prompt, "<u4")
        found: list[_Found] = []
        for pool in self._pools:
            requests = []
            for steps in replay_each(
                prompt, transcript.answer, pool.lookup, pool.max_k, max_model_len=pool.max_model_len
            ):
                requests.append(steps)
                time.sleep(0)  # lets the event loop have the interpreter, which it would wait for otherwise
            found.append((pool.profile, Replayed(tuple(requests)).counters()))
        return found

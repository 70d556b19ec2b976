"""The measurement: warm up, and have every side answer its blocks, until all are done or the time is up."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

import httpx

from bench.endtoend.answers import Answer, Sampling, ask
from bench.endtoend.journal import Journal
from bench.endtoend.load import Load, arrivals, closed, opened
from bench.endtoend.running import Fleets
from bench.endtoend.schedule import Block
from bench.endtoend.sides import VANILLA, Fleet
from bench.endtoend.workload import Prompt, Workload
from bench.results import BenchError, Say

RATE: Final = "plain requests per second"
"""In the journal: what open loads are shares of."""
PLAIN: Final = "plain"
_RATE_CLIENTS: Final = 16
_RATE_REQUESTS: Final = 32
_AFTER_START: Final = 8
_AT_ONCE: Final = 4
_SHOWN: Final = 300
_TRIES: Final = 3
"""Ray gives a start up where the machine is very busy for a moment."""


class Warmth(NamedTuple):
    """How those that learn are warmed up: so many requests, under every sampling in turn."""

    requests: int
    samplings: Sequence[Sampling]


@dataclass(frozen=True, slots=True)
class Asked:
    """All that is asked, and how."""

    workload: Workload
    per_task: int
    warmth: Warmth
    model: str


class Run:
    """One measurement. What it finds out goes to the journal."""

    def __init__(self, asked: Asked, journal: Journal, client: httpx.AsyncClient, say: Say) -> None:
        """Nothing is asked yet."""
        self._asked = asked
        self._journal = journal
        self._client = client
        self._say = say
        self.failed: dict[str, str] = {}
        """Sides that are left out, and why."""

    async def blocks(self, blocks: Sequence[Block], fleets: Fleets, *, until_s: float | None) -> bool:
        """Have all blocks answered that are not in the journal; False where some are not in the end.

        `until_s` is a time of `time.monotonic`. It is looked at between blocks. A side that three
        times does not start, or does not answer, is left out from there on: see `failed`.

        Raises:
            BenchError: That side is the plain one, which all others are compared with.
        """
        left = [block for block in blocks if block.key not in self._journal.blocks]
        began = time.monotonic()
        for done, block in enumerate(left, 1):
            if until_s is not None and time.monotonic() >= until_s:
                return False
            if block.side.name in self.failed:
                continue
            try:
                seconds, answers = await self._block(block, fleets)
            except BenchError as error:
                if block.side.name == VANILLA:
                    raise
                self.failed[block.side.name] = " ".join(str(error).split())[:_SHOWN]
                self._say(f"{block.side.name}: left out: {error}")
                continue
            self._journal.add(block.key, seconds, answers)
            each = (time.monotonic() - began) / done
            minutes = each * (len(left) - done) / 60
            self._say(f"{block.key}: {seconds:.0f} s; {done} of {len(left)} blocks, {minutes:.0f} min left")
        return not self.failed

    async def _block(self, block: Block, fleets: Fleets) -> tuple[float, list[Answer]]:
        for left in reversed(range(_TRIES)):
            try:
                rate = await self._rate(block.cell.load, fleets)
                url = await fleets.url(block.side.fleet)
                prompts = self._asked.workload.block(block.prompts, per_task=self._asked.per_task)
                headers = {"X-Specroute-Tenant": block.side.name, **block.side.headers}
                asking = partial(self._ask, url, block.cell.sampling, headers)
                began = time.perf_counter()
                if block.cell.load.clients is not None:
                    answers = await closed(prompts, block.cell.load.clients, asking)
                else:
                    seed = f"{block.repeat} {block.cell.number}"  # the same for all sides
                    answers = await opened(prompts, arrivals(len(prompts), rate, seed), asking)
                return time.perf_counter() - began, answers
            except BenchError as error:
                if not left:
                    raise
                self._say(f"{block.key}: {error}; once more")
                fleets.end(block.side.fleet)
        raise AssertionError  # the last turn returns or raises

    async def _rate(self, load: Load, fleets: Fleets) -> float:
        """Requests per second of an open load. What the plain engines can do is found out once."""
        if load.share is None:
            return 0.0
        if RATE not in self._journal.notes:
            url = await fleets.url(PLAIN)
            prompts = self._warming(_RATE_REQUESTS)
            asking = partial(self._ask, url, self._asked.warmth.samplings[0], {})
            began = time.perf_counter()
            await closed(prompts, _RATE_CLIENTS, asking)
            self._journal.note(RATE, len(prompts) / (time.perf_counter() - began))
        return load.share * float(self._journal.notes[RATE])

    async def warm(self, fleet: Fleet, url: str) -> None:
        """Let a fleet's engines get going; and one that learns, learn, where it has not yet.

        A cold one's engines are asked plainly and as another tenant: of that it learns next to nothing.
        """
        sampling = self._asked.warmth.samplings[0]
        plainly = {"X-Specroute-Tenant": "warming", "X-Specroute-Route": "vanilla"}
        asking = partial(self._ask, url, sampling, plainly if fleet.cold or not fleet.learns else {})
        await closed(self._warming(_AFTER_START), _AT_ONCE, asking)
        noted = f"warm: {fleet.name}"
        if not fleet.learns or noted in self._journal.notes:
            return
        self._say(f"{fleet.name}: warming up with {self._asked.warmth.requests} requests")
        samplings = self._asked.warmth.samplings
        jobs = [
            (prompt, samplings[number % len(samplings)])
            for number, prompt in enumerate(self._warming(self._asked.warmth.requests))
        ]
        headers = {"X-Specroute-Tenant": fleet.name}

        async def one(job: tuple[Prompt, Sampling]) -> Answer:
            return await self._ask(url, job[1], headers, job[0])

        await closed(jobs, _AT_ONCE, one)
        self._journal.note(noted, self._asked.warmth.requests)

    def _warming(self, count: int) -> list[Prompt]:
        pool = self._asked.workload.warming
        return [pool[place % len(pool)] for place in range(count)]

    async def _ask(self, url: str, sampling: Sampling, headers: Mapping[str, str], prompt: Prompt) -> Answer:
        return await ask(self._client, url, prompt, sampling, headers, model=self._asked.model)

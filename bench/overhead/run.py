"""The measurement: every side answers a block of requests in turn, at every load, in every repeat."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean, median
from typing import Final, NamedTuple

from bench.overhead.client import AnswerError, Timed, ask_all
from bench.overhead.figures import Block, Place
from bench.overhead.peers import PINNED
from bench.overhead.processors import processor_seconds
from bench.overhead.sides import Started

_SETTLE_S: Final = 0.25
"""What a side does after it has answered, like writing down what it learned, belongs to its requests."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked. A block has `requests`, or two per client where that is more."""

    chunks: tuple[int, ...]
    clients: tuple[int, ...]
    requests: int
    repeats: int


class _Asked(NamedTuple):
    """One block as it was measured. Seconds are those of the clock and, by side, of the processor."""

    side: str
    place: Place
    answers: list[Timed]
    seconds: float
    taken: Mapping[str, float]
    repeat: int = 0


async def measured(sides: Mapping[str, Started], load: Load) -> tuple[list[Block], dict[str, str]]:
    """The blocks of all repeats, and the peers that are left out, with why.

    One more repeat before them warms up and is not among them. In every repeat the loads come in the order
    given, and the sides at each of them in an order drawn anew. A peer is left out from where it fails.

    Raises:
        AnswerError: A side that is no peer answered with something else than a whole stream.
        OSError: It did not answer.
    """
    rng = Random(1)
    asked: list[_Asked] = []
    failed: dict[str, str] = {}
    number = 1
    for repeat in range(-1, load.repeats):
        print(f"repeat {repeat + 1} of {load.repeats}" if repeat >= 0 else "warming up", file=sys.stderr)
        for chunks in load.chunks:
            for clients in load.clients:
                for name in rng.sample(list(sides), len(sides)):
                    if name in failed:
                        continue
                    requests = max(load.requests, 2 * clients)
                    try:
                        block = await _ask(sides, name, Place(chunks, clients), requests, number)
                    except (AnswerError, OSError) as error:
                        if name not in PINNED:
                            raise
                        failed[name] = f"{chunks} chunks, {clients} clients: {type(error).__name__}: {error}"
                        print(f"{name}: left out: {failed[name]}", file=sys.stderr)
                        continue
                    number += requests + clients
                    if repeat >= 0:
                        asked.append(block._replace(repeat=repeat))
    kept = [block for block in asked if block.side not in failed]
    return blocks(kept, {name: side.engine for name, side in sides.items() if name not in failed}), failed


async def _ask(sides: Mapping[str, Started], name: str, place: Place, requests: int, number: int) -> _Asked:
    roots = {side: started.process.pid for side, started in sides.items()}
    before, began = processor_seconds(roots), time.perf_counter()
    answers = await ask_all(sides[name].port, requests=requests, number=number, **place._asdict())
    await asyncio.sleep(_SETTLE_S)
    after, seconds = processor_seconds(roots), time.perf_counter() - began
    taken = {side: after[side] - before[side] for side in sides}
    return _Asked(name, place, answers, seconds, taken)


def blocks(asked: Sequence[_Asked], engines: Mapping[str, str]) -> list[Block]:
    """What the blocks come to. `engines` says whose processes answer together with a side's own."""
    idle = {name: _idle(asked, name, engines) for name in engines}
    found = []
    for block in asked:
        busy = {block.side, engines[block.side]}
        cpu_s = sum(block.taken[name] - idle[name] * block.seconds for name in busy)
        count = len(block.answers)
        found.append(
            Block(
                repeat=block.repeat,
                side=block.side,
                **block.place._asdict(),
                requests=count,
                first_ms=1000 * median(answer.first_s for answer in block.answers),
                total_ms=1000 * median(answer.total_s for answer in block.answers),
                cpu_ms=1000 * cpu_s / count,
                events=fmean(answer.events for answer in block.answers),
            )
        )
    return found


def _idle(asked: Sequence[_Asked], name: str, engines: Mapping[str, str]) -> float:
    """The processor time a side takes per second while others are asked."""
    others = [block for block in asked if name not in {block.side, engines[block.side]}]
    seconds = sum(block.seconds for block in others)
    return sum(block.taken[name] for block in others) / seconds if seconds else 0.0

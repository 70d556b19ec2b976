"""The order in which prompts are sent, and the sending.

The same prompt meets the same concurrency in every pass. The vanilla pass is interleaved with the second one:
every prompt is sent both ways, one right after the other and each way first in turn, so that whatever else
the machine does meanwhile slows both alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from typing import Literal

from router.demo.client import Service
from router.demo.prompts import Prompt
from router.demo.rows import Phase, Row

CONCURRENCY = (1, 2, 3, 4)
_PROMPTS_PER_WORKER = 2

Step = tuple[Phase, Literal["auto", "vanilla"]]
Order = tuple[Step, ...]

_FIRST: Order = (("first", "auto"),)
_SECOND: Order = (("second", "auto"),)
_VANILLA: Step = ("vanilla", "vanilla")


@dataclass(frozen=True, slots=True)
class Stage:
    """Prompts that are sent by `concurrency` clients at once."""

    concurrency: int
    prompts: Sequence[Prompt]


def stages(prompts: Sequence[Prompt]) -> Iterator[Stage]:
    """The prompts in their order, at 1, 2, 3, 4, 1, 2, … requests at once."""
    start = 0
    for concurrency in cycle(CONCURRENCY):
        if start >= len(prompts):
            return
        end = start + concurrency * _PROMPTS_PER_WORKER
        yield Stage(concurrency, prompts[start:end])
        start = end


def paired(prompts: Sequence[Prompt]) -> dict[str, Order]:
    """For every prompt both ways, and which comes first: taking turns within each task."""
    turns: dict[str, Iterator[int]] = {}
    orders = {}
    for number, prompt in enumerate(prompts):
        turn = next(turns.setdefault(prompt.task, count(number % 2)))
        both = (*_SECOND, _VANILLA)
        orders[prompt.id] = both if turn % 2 == 0 else both[::-1]
    return orders


class Sender:
    """Sends passes of prompts to a service and tells `seen` of every row."""

    def __init__(self, service: Service, model: str, seen: Callable[[Row], None]) -> None:
        self._service = service
        self._model = model
        self._seen = seen

    async def honours_overrides(self, prompt: Prompt) -> bool:
        """Whether a request may choose vanilla. Vanilla requests teach nothing, so this one may come first.

        It also takes the costs that only an engine's very first request has.
        """
        probe = prompt.model_copy(update={"max_tokens": 8})
        row = await self._service.ask(
            probe, model=self._model, phase="vanilla", concurrency=1, route="vanilla"
        )
        return row.overridden

    async def first(self, prompts: Sequence[Prompt]) -> list[Row]:
        """The first pass."""
        return await self._all(prompts, lambda _: _FIRST)

    async def second(self, prompts: Sequence[Prompt], *, with_vanilla: bool) -> list[Row]:
        """The second pass, and with it the all-vanilla one."""
        orders = paired(prompts)
        return await self._all(prompts, lambda prompt: orders[prompt.id] if with_vanilla else _SECOND)

    async def _all(self, prompts: Sequence[Prompt], order: Callable[[Prompt], Order]) -> list[Row]:
        rows: list[Row] = []
        for stage in stages(prompts):
            waiting = iter(stage.prompts)
            async with asyncio.TaskGroup() as clients:
                for _ in range(stage.concurrency):
                    clients.create_task(self._client(waiting, stage.concurrency, order, rows.append))
        return rows

    async def _client(
        self,
        waiting: Iterator[Prompt],
        concurrency: int,
        order: Callable[[Prompt], Order],
        keep: Callable[[Row], None],
    ) -> None:
        """Take prompts until none is left; an event loop has one thread, so clients can share an iterator."""
        for prompt in waiting:
            for phase, route in order(prompt):
                answer: Awaitable[Row] = self._service.ask(
                    prompt, model=self._model, phase=phase, concurrency=concurrency, route=route
                )
                row = await answer
                keep(row)
                self._seen(row)

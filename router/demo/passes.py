"""The order in which prompts are sent, and the sending.

The same prompt meets the same concurrency in both passes. Vanilla requests are interleaved with both: every
prompt is sent both ways, one right after the other and each way first in turn, so that whatever else the
machine does meanwhile, and whatever else the engines decode, slows both alike. They teach the router nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle

from router.demo.client import Service
from router.demo.prompts import Prompt
from router.demo.rows import Pass, Row

CONCURRENCY = (1, 2, 3, 4)
_PROMPTS_PER_WORKER = 2

Order = tuple[bool, ...]
"""The ways one prompt is sent, in turn: True is vanilla."""


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
    orders: dict[str, Order] = {}
    for number, prompt in enumerate(prompts):
        turn = next(turns.setdefault(prompt.task, count(number)))
        orders[prompt.id] = (False, True) if turn % 2 == 0 else (True, False)
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
        row = await self._service.ask(probe, model=self._model, beside="first", concurrency=1, vanilla=True)
        return row.overridden

    async def send(self, prompts: Sequence[Prompt], name: Pass, *, with_vanilla: bool) -> list[Row]:
        """Send one pass, and with it every prompt vanilla."""
        orders = paired(prompts) if with_vanilla else {}
        rows: list[Row] = []
        for stage in stages(prompts):
            waiting = iter(stage.prompts)
            async with asyncio.TaskGroup() as clients:
                for _ in range(stage.concurrency):
                    clients.create_task(self._client(waiting, stage.concurrency, name, orders, rows))
        return rows

    async def _client(
        self,
        waiting: Iterator[Prompt],
        concurrency: int,
        name: Pass,
        orders: Mapping[str, Order],
        rows: list[Row],
    ) -> None:
        """Take prompts until none is left; an event loop has one thread, so clients can share an iterator."""
        for prompt in waiting:
            for vanilla in orders.get(prompt.id, (False,)):
                row = await self._service.ask(
                    prompt, model=self._model, beside=name, concurrency=concurrency, vanilla=vanilla
                )
                rows.append(row)
                self._seen(row)

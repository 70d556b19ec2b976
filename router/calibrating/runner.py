"""Sends the blocks of a calibration one after the other, and keeps what they showed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from policies.calibrating import Block, Measured, Side
from policies.cells import TemperatureBucket, temperature_bucket
from router.calibrating.asking import AnswerError, Asker
from router.calibrating.journal import Journal
from router.calibrating.prompts import Prompt
from router.calibrating.service import ServiceError

_MOST_FAILURES: Final = 5
"""In a row; then something is wrong that more requests do not mend.

A prompt that the service refuses is refused on all its sides, which stand together: that counts once.
"""
_COST_EVERY: Final = 40

Weights = Mapping[tuple[str, TemperatureBucket], float]
"""By prompt and bucket of temperatures."""

Seen = Callable[[Block, str | None], None]
"""Is told of each block that ended, and of what went wrong with it."""


class Runner:
    """One calibration's requests. What is in the journal already is not asked again."""

    def __init__(  # noqa: PLR0917 - what a calibration is made of
        self,
        asker: Asker,
        prompts: Mapping[str, Prompt],
        journal: Journal,
        cost: Callable[[], Mapping[str, Any]],
        seen: Seen,
        away: AbstractSet[str] = frozenset(),
    ) -> None:
        """Nothing is asked yet.

        `cost` asks the service for its step times: they are kept now and then, lest it ends before us. Pools
        that are `away` are not asked.
        """
        self._asker = asker
        self._prompts = prompts
        self._journal = journal
        self._cost = cost
        self._seen = seen
        self._away = away
        self._weights: Weights = {}

    async def run(self, planned: Sequence[Block]) -> list[str]:
        """Ask all blocks; what went wrong, a line for each block that failed.

        Raises:
            ServiceError: Block after block fails.
            JournalError: Nothing can be kept.
        """
        self._weights = weights_of(planned)
        left = [(number, block) for number, block in enumerate(planned) if number not in self._journal.done]
        waiting = [(number, block) for number, block in left if block.side.profile not in self._away]
        failures = [
            f"{block.side.profile}: not available: run the same command when it is back"
            for _, block in left
            if block.side.profile in self._away
        ]
        if waiting:
            await self._warm_up([block for _, block in waiting])
        in_a_row = set[int | str]()
        for done, (number, block) in enumerate(waiting, 1):
            problem = await self._measure(number, block)
            self._seen(block, str(problem) if problem else None)
            if problem is None:
                in_a_row.clear()
            else:
                failures.append(str(problem))
                in_a_row.add(block.prompts[0] if problem.refused else number)
            if len(in_a_row) >= _MOST_FAILURES:
                raise ServiceError(f"{len(in_a_row)} requests in a row failed, the last one: {problem}")
            if done % _COST_EVERY == 0 or done == len(waiting):
                self._journal.add_cost(await asyncio.to_thread(self._cost))
        return failures

    async def _measure(self, number: int, block: Block) -> AnswerError | None:
        """Ask a block; what went wrong, if anything did."""
        found = await asyncio.gather(
            *(self._ask(name, block.side) for name in block.prompts),
            return_exceptions=True,
        )
        answers: list[Measured] = []
        for one in found:
            if isinstance(one, AnswerError):
                return one
            if isinstance(one, BaseException):
                raise one
            answers.append(one)
        self._journal.add(number, answers)
        return None

    async def _ask(self, prompt: str, side: Side) -> Measured:
        weight = self._weights[_alike(prompt, side)]
        return await self._asker.ask(self._prompts[prompt], side, weight=weight)

    async def _warm_up(self, planned: Sequence[Block]) -> None:
        """One answer of each pool that counts nowhere: the first of an engine takes longer."""
        first = {block.side.profile: block for block in reversed(planned)}
        for block in first.values():
            try:
                await self._ask(block.prompts[0], block.side)
            except AnswerError:
                continue  # told where the block itself fails


def weights_of(planned: Iterable[Block]) -> Weights:
    """What each answer counts as in the running service: those to one prompt as one request together.

    The calibration file counts so, too (`policies.calibrating.cells`). Else the service would take a prompt's
    ten answers for ten prompts, and be surer than the file it is measured for.
    """
    asked = Counter(_alike(name, block.side) for block in planned for name in block.prompts)
    return {alike: 1.0 / times for alike, times in asked.items()}


def _alike(prompt: str, side: Side) -> tuple[str, TemperatureBucket]:
    return prompt, temperature_bucket(side.temperature)

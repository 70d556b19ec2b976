"""In which order sides answer: every repeat goes through all of them, forwards and backwards in turn.

Two cores hold two engines that work, but more that wait: an engine without requests takes no time to speak
of. As many fleets as memory holds are kept at once, and where all fit, all sides answer each load one after
the other. Where they do not, a fleet answers all loads before the next one is started, and since the order
turns around with every repeat (A B C, C B A), it is not started anew at the turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.endtoend.answers import Sampling
from bench.endtoend.load import Load
from bench.endtoend.sides import Side


@dataclass(frozen=True, slots=True)
class Cell:
    """One setting under which all sides answer. `number` is its place among them."""

    number: int
    load: Load
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Block:
    """What one side is asked in one go."""

    repeat: int
    cell: Cell
    side: Side
    prompts: int
    """Number of the prompts' block in the workload: the same for all sides."""

    @property
    def key(self) -> str:
        """Names it in a journal."""
        return "/".join((str(self.repeat), self.cell.load.name, self.cell.sampling.name, self.side.name))


def schedule(sides: Sequence[Side], cells: Sequence[Cell], *, repeats: int, all_at_once: bool) -> list[Block]:
    """The blocks in order. A cold side answers under the first cell alone; afterwards it is not cold."""
    found: list[Block] = []
    for repeat in range(repeats):
        pairs = [(cell, side) for cell in cells for side in sides if not side.cold or cell is cells[0]]
        if not all_at_once:
            order = list(dict.fromkeys(side.fleet for side in sides))
            pairs.sort(key=lambda pair: order.index(pair[1].fleet))
        blocks = [Block(repeat, cell, side, repeat * len(cells) + cell.number) for cell, side in pairs]
        found += blocks if repeat % 2 == 0 else blocks[::-1]
    return found

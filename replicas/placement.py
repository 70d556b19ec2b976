"""Whether engines find GPUs: one engine's are all on one node, and only parts of a GPU are shared.

Ray sees to it when the engines start. This tells beforehand, since an engine without a place just waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from replicas.profiles import Profile

_ROUNDING: Final = 1e-6


def placement_problems(profiles: Sequence[Profile], nodes: Sequence[int]) -> Iterator[str]:
    """A line for every profile whose engines have no place on nodes with so many GPUs each.

    The largest engines are placed first, each on the fullest node that has room. Where every size is a
    multiple of the next smaller one, as GPUs of an engine mostly are, that finds a place if there is one.
    Pools that grow are placed with the fewest engines they may have.
    """
    largest = max(nodes, default=0)
    fitting = []
    for profile in profiles:
        if profile.gpus > largest:
            yield (
                f"profiles.{profile.name}.gpus: an engine takes {profile.gpus:g} GPUs of one node, "
                f"{_have(nodes)}: lower gpus, or use nodes with more"
            )
        else:
            fitting.append(profile)
    free = [_Node(gpus) for gpus in nodes]
    for profile in sorted(fitting, key=lambda profile: -profile.gpus):
        lacking = sum(not _place(profile.gpus, free) for _ in range(profile.fewest_replicas))
        if lacking:
            yield (
                f"profiles.{profile.name}: {lacking} of {profile.fewest_replicas} engines find no free GPUs, "
                f"{_have(nodes)}: serve fewer engines, or let them share GPUs with gpus below 1"
            )


class _Node:
    """What is free: of whole GPUs, and of each that is shared."""

    def __init__(self, gpus: int) -> None:
        self.whole = gpus
        self.parts: list[float] = []


def _place(gpus: float, nodes: Sequence[_Node]) -> bool:
    if gpus < 1:
        for node in nodes:
            for number, part in enumerate(node.parts):
                if part + _ROUNDING >= gpus:
                    node.parts[number] -= gpus
                    return True
    room = [node for node in nodes if node.whole >= max(1, gpus)]
    if not room:
        return False
    node = min(room, key=lambda node: node.whole)
    node.whole -= max(1, int(gpus))
    if gpus < 1:
        node.parts.append(1 - gpus)
    return True


def _have(nodes: Sequence[int]) -> str:
    if not any(nodes):
        return "and there are none"
    if len(nodes) == 1:
        return f"and there {'is' if nodes[0] == 1 else 'are'} {nodes[0]}"
    return f"and the nodes have {', '.join(map(str, nodes))}"

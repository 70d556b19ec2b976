"""Which requests a calibration sends, and in which order.

All sides of a prompt stand next to each other in an order drawn anew for each, so that whatever else the
machine does falls on all of them alike. Prompts are dealt one of each domain after the other: a run that is
cut short has measured all domains about as well, and no domain meets the machine at one moment only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from hashlib import sha256
from itertools import cycle, islice, zip_longest
from typing import Final, NamedTuple, TypeVar

from policies.calibrating.measured import Side
from policies.cost import Calibrated, StepLoad

_MOST_KS: Final = 3


class PoolFacts(NamedTuple):
    """What is known of a pool beforehand; `max_k` 0 has no drafter, `capacity` is of all its replicas."""

    profile: str
    method: str
    max_k: int
    replicas: int
    capacity: int
    is_model: bool = False
    least_asked: int = 1
    """Tokens a drafting model works for in every pass at least; see `policies.decide.Pool`."""

    @property
    def slots(self) -> int:
        """Requests that one replica decodes at once."""
        return max(1, self.capacity // max(1, self.replicas))


class Wanted(NamedTuple):
    """What is to be compared; the first temperature and top_p are the base, all else is varied around them.

    `ks` empty chooses some up to each pool's largest, `reference_k` among them.
    """

    ks: tuple[int, ...]
    reference_k: int
    most_k: int
    temperatures: tuple[float, ...]
    top_ps: tuple[float, ...]
    batches: tuple[int, ...]


class Block(NamedTuple):
    """Prompts that are asked at once, on one side."""

    side: Side
    prompts: tuple[str, ...]


def default_ks(max_k: int, reference_k: int) -> tuple[int, ...]:
    """Up to three k: the reference, the largest and one below; 2, 4 and 8 for 8 around 4."""
    reference_k = min(reference_k, max_k)
    return tuple(sorted({max(1, reference_k // 2), reference_k, max_k}))[-_MOST_KS:]


def sides(pools: Sequence[PoolFacts], wanted: Wanted) -> list[Side]:
    """Every side: plain and with each k at the base; other batches, and other ways to sample, at one k.

    Plain decoding is measured on every pool: without it nobody can tell what a drafter's pool takes for its
    drafts from what it takes anyway. Sampled in other ways it is measured on one of them, as what drafts are
    compared with.
    """
    temperature, top_p = wanted.temperatures[0], wanted.top_ps[0]
    varied = [(other, top_p) for other in wanted.temperatures[1:]]
    varied += [(temperature, other) for other in wanted.top_ps[1:]]
    found = [
        Side(pool.profile, 0, temperature, top_p, batch)
        for pool in pools
        for batch in wanted.batches
        if batch <= pool.slots
    ]
    plain = plain_profile({pool.profile for pool in pools}, {pool.profile for pool in pools if pool.max_k})
    found += [Side(plain, 0, *sampling, wanted.batches[0]) for sampling in varied if pools]
    for pool in pools:
        highest = min(pool.max_k, wanted.most_k)
        if highest < 1:
            continue
        reference = min(wanted.reference_k, highest)
        ks = [min(k, highest) for k in wanted.ks] or default_ks(highest, reference)
        found += [
            Side(pool.profile, k, temperature, top_p, wanted.batches[0]) for k in sorted({*ks, reference})
        ]
        found += [
            Side(pool.profile, reference, temperature, top_p, batch)
            for batch in wanted.batches[1:]
            if batch <= pool.slots
        ]
        found += [Side(pool.profile, reference, *sampling, wanted.batches[0]) for sampling in varied]
    return list(dict.fromkeys(found))


def plain_profile(profiles: AbstractSet[str], drafting: AbstractSet[str]) -> str:
    """The pool whose plain decoding drafts are compared with: one without a drafter, where there is one."""
    return min(profiles - drafting or profiles, default="")


def blocks(
    domains: Mapping[str, Sequence[str]], chosen: Sequence[Side], replicas: Mapping[str, int], *, seed: int
) -> list[Block]:
    """Every prompt on every side: each side's batch times its pool's replicas at once, of one domain.

    Args:
        domains: Prompts by domain.
        chosen: The sides.
        replicas: Of each pool, which share what is asked at once.
        seed: Of the order.

    A domain with fewer prompts than are asked at once asks some of them twice.
    """
    sizes = {side: side.batch * max(1, replicas.get(side.profile, 1)) for side in chosen}
    found: list[Block] = []
    for number, turn in enumerate(zip_longest(*(_turns(prompts, sizes) for prompts in domains.values()))):
        for group in _drawn(turn, f"{seed}/{number}"):
            if group is not None:
                found += _drawn(group, f"{seed}/{number}")
    return found


_Item = TypeVar("_Item")


def _drawn(items: Sequence[_Item], seed: str) -> list[_Item]:
    """The items in an order that looks random, and is the same wherever it is asked for."""
    return sorted(items, key=lambda item: sha256(f"{seed}/{item!r}".encode()).digest())


def _turns(prompts: Sequence[str], sizes: Mapping[Side, int]) -> Iterator[list[Block]]:
    """A domain's blocks prompt by prompt: those that a prompt makes complete."""
    for number in range(1, len(prompts) + 1):
        due = []
        for side, size in sizes.items():
            if number % size == 0:
                due.append(Block(side, tuple(prompts[number - size : number])))
            elif number == len(prompts) < size:
                due.append(Block(side, tuple(islice(cycle(prompts), size))))
        yield due


def duration_s(
    planned: Sequence[Block],
    costs: Mapping[str, Calibrated],
    *,
    prompt_tokens: Mapping[str, float],
    tokens: float,
) -> float:
    """How long blocks take, one after the other, in seconds: as if all of them decoded plainly.

    Args:
        planned: The blocks.
        costs: The pools' step times by now.
        prompt_tokens: How long prompts are, about.
        tokens: The longest an answer may get.
    """
    total = 0.0
    for block in planned:
        cost = costs.get(block.side.profile)
        if cost is not None:
            read = StepLoad(prefill=sum(prompt_tokens[prompt] for prompt in block.prompts))
            decoding = StepLoad(requests=block.side.batch)
            total += cost.step_time.seconds(read) + (tokens - 1) * cost.step_time.seconds(decoding)
    return total

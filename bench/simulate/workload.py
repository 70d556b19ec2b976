"""Workloads: who asks what and when, drawn once per seed and met by every side alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from bench.simulate.drafting import Drafting, Drafts, steps_at
from policies.cells import TemperatureBucket, temperature_bucket
from policies.replay import Replayed


class Lengths(NamedTuple):
    """Token counts: log-normal with this median and this deviation of the logarithm, within bounds."""

    median: float
    deviation: float
    least: int = 4
    most: int = 100_000

    def draw(self, rng: np.random.Generator) -> int:
        """One length."""
        length = self.median * float(np.exp(self.deviation * rng.standard_normal()))
        return int(min(self.most, max(self.least, round(length))))

    @property
    def mean(self) -> float:
        """The mean, without the bounds."""
        return self.median * float(np.exp(self.deviation**2 / 2))


@dataclass(frozen=True, slots=True)
class TaskLoad:
    """One task's part of the traffic, `share` in proportion to the others'.

    `drifts` replace its drafting from a time on, in seconds from the start.
    """

    task: str
    share: float
    drafting: Drafting
    prompt: Lengths
    output: Lengths
    max_tokens: int = 512
    temperature: float = 0.0
    drifts: tuple[tuple[float, Drafting], ...] = ()

    def drafting_at(self, now_s: float) -> Drafting:
        """The acceptance process in force."""
        current = self.drafting
        for from_s, drafting in self.drifts:
            if now_s >= from_s:
                current = drafting
        return current


@dataclass(frozen=True, slots=True)
class TenantLoad:
    """A tenant's part of the traffic; `tasks`, if given, are its own in place of the mix."""

    name: str
    share: float
    tasks: tuple[TaskLoad, ...] = ()


_TENANTS: Final = (TenantLoad("acme", 0.6), TenantLoad("globex", 0.3), TenantLoad("initech", 0.1))


class Pace(NamedTuple):
    """Requests per second from a time on; Poisson, or evenly spaced where `even`."""

    from_s: float
    per_second: float
    even: bool = False


@dataclass(frozen=True, slots=True)
class Traffic:
    """Everything clients do. `max_k` bounds what is drawn of each request's drafts."""

    tasks: tuple[TaskLoad, ...]
    paces: tuple[Pace, ...]
    max_k: int
    tenants: tuple[TenantLoad, ...] = _TENANTS


@dataclass(slots=True)
class Request:
    """One request with its whole future; nobody but the engine and the oracle looks at that."""

    number: int
    arrival_s: float
    task: str
    tenant: str
    temperature: TemperatureBucket
    prompt_tokens: int
    max_tokens: int
    output_tokens: int
    drafts: Drafts
    _replayed: dict[int, Mapping[str, float]] = field(default_factory=dict, repr=False)

    def replayed(self, max_k: int) -> Mapping[str, float]:
        """The counters of its replay at every k from 1 to `max_k`, computed once for all sides."""
        counters = self._replayed.get(max_k)
        if counters is None:
            steps = (steps_at(self.drafts, self.output_tokens, k) for k in range(1, max_k + 1))
            counters = self._replayed[max_k] = Replayed(tuple(steps)).counters()
        return counters


def draw(traffic: Traffic, requests: int, seed: int) -> list[Request]:
    """The first `requests` requests of the traffic.

    Times, tasks and answers come from streams of their own, so that a change to one leaves the others.
    """
    arrivals, mix, answers = (np.random.default_rng((seed, stream)) for stream in range(3))
    tenant_shares = _shares([tenant.share for tenant in traffic.tenants])
    drawn = []
    for number, arrival_s in zip(range(requests), _arrivals(traffic.paces, arrivals), strict=False):
        tenant = traffic.tenants[int(mix.choice(len(tenant_shares), p=tenant_shares))]
        tasks = tenant.tasks or traffic.tasks
        load = tasks[int(mix.choice(len(tasks), p=_shares([task.share for task in tasks])))]
        tokens = min(load.output.draw(answers), load.max_tokens)
        drawn.append(
            Request(
                number=number,
                arrival_s=arrival_s,
                task=load.task,
                tenant=tenant.name,
                temperature=temperature_bucket(load.temperature),
                prompt_tokens=load.prompt.draw(answers),
                max_tokens=load.max_tokens,
                output_tokens=tokens,
                drafts=load.drafting_at(arrival_s).drafts(tokens, traffic.max_k, answers),
            )
        )
    return drawn


def _arrivals(paces: Sequence[Pace], rng: np.random.Generator) -> Iterator[float]:
    """Arrival times; a pace of 0 rests until the next one."""
    now_s = 0.0
    for pace, following in zip(paces, [*paces[1:], None], strict=True):
        until_s = following.from_s if following else float("inf")
        now_s = max(now_s, pace.from_s)
        while pace.per_second > 0:
            gap_s = 1.0 if pace.even else float(rng.exponential())
            now_s += gap_s / pace.per_second
            if now_s >= until_s:
                break
            yield now_s


def _shares(parts: Sequence[float]) -> list[float]:
    total = sum(parts)
    return [part / total for part in parts]

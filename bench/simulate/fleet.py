"""One side of a comparison at work: requests arrive, the side places them, engines serve them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import simpy

from bench.simulate.engine import Engine, Job
from bench.simulate.surfaces import Machine
from bench.simulate.workload import Request
from policies.cost import StepLoad


class EngineSpec(NamedTuple):
    """One engine of a side: the pool it belongs to, and its drafter's limit (0 for none)."""

    profile: str
    max_k: int
    table: tuple[int, ...] | None = None
    """k by batch size, where the engine sets it by itself."""


class Placement(NamedTuple):
    """Where a request goes. `engine` is its number in the fleet."""

    engine: int
    k: int
    reason: str = "mode"
    propensity: float = 1.0


class Side(Protocol):
    """Whoever places requests. Time is the simulation's, in seconds from its start."""

    def place(self, request: Request, now_s: float) -> Placement:
        """The engine and k for a request that arrives now."""
        ...

    def finished(self, job: Job, now_s: float) -> None:
        """A request is done."""
        ...

    def passed(self, engine: int, load: StepLoad, seconds: float) -> None:
        """An engine did a pass."""
        ...


class Served(NamedTuple):
    """A request's whole story."""

    job: Job
    placement: Placement

    @property
    def completion_s(self) -> float:
        """From arrival to the last token."""
        return self.job.finished_s - self.job.request.arrival_s

    @property
    def ttft_s(self) -> float:
        """From arrival to the first token."""
        return self.job.first_token_s - self.job.request.arrival_s

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first; None where there is only one."""
        tokens = self.job.request.output_tokens
        return (self.job.finished_s - self.job.first_token_s) / (tokens - 1) if tokens > 1 else None


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a workload on one side. `served` is in the order of arrival."""

    served: Sequence[Served]
    span_s: float
    busy_s: tuple[float, ...]
    """By engine."""


SideMaker = Callable[[Sequence[Engine]], Side]


def run(
    requests: Sequence[Request],
    specs: Sequence[EngineSpec],
    make: SideMaker,
    *,
    machine: Machine,
    drafts_by_model: bool,
    seed: int,
) -> Run:
    """Play the workload through until the last request is done."""
    env = simpy.Environment()
    done: dict[int, Served] = {}
    placements: dict[int, Placement] = {}
    side: Side

    def finished(job: Job) -> None:
        number = job.request.number
        if number in done:
            raise RuntimeError(f"request {number} finished twice")
        done[number] = Served(job, placements[number])
        side.finished(job, env.now)

    def passed(engine: int, load: StepLoad, seconds: float) -> None:
        side.passed(engine, load, seconds)

    engines = [
        Engine(
            env,
            number,
            machine=machine,
            max_k=spec.max_k,
            drafts_by_model=drafts_by_model,
            finished=finished,
            passed=passed,
            table=spec.table,
            seed=seed,
        )
        for number, spec in enumerate(specs)
    ]
    side = make(engines)

    def arrivals() -> Generator[simpy.Event, None, None]:
        for request in requests:
            yield env.timeout(max(0.0, request.arrival_s - env.now))
            placement = side.place(request, env.now)
            placements[request.number] = placement
            job = Job(request, placement.k, placement.engine, env.now, unread=request.prompt_tokens)
            engines[placement.engine].submit(job)

    env.process(arrivals())
    env.run()
    if len(done) != len(requests):
        raise RuntimeError(f"{len(requests) - len(done)} requests never finished")
    return Run(
        served=[done[request.number] for request in requests],
        span_s=env.now,
        busy_s=tuple(engine.busy_s for engine in engines),
    )

"""Small fleets to simulate in tests."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.simulate.drafting import Drafting, ModelDrafting
from bench.simulate.engine import Engine
from bench.simulate.fleet import EngineSpec, Run, Side, run
from bench.simulate.static import Static
from bench.simulate.surfaces import CPU, Machine, Staircase
from bench.simulate.workload import Lengths, Pace, Request, TaskLoad, Traffic, draw

QUIET = replace(CPU, noise=0.0)
FLAT = replace(
    QUIET, surface=Staircase(plain_s=0.02, second_s=0.0, tile_s=0.0, tile_tokens=16, context_s=0.0)
)
"""Every pass takes 20 ms."""


def always(length: int) -> Lengths:
    return Lengths(length, 0.0, length, length)


DRAFTING = ModelDrafting(0.7)
PROMPT, OUTPUT = always(32), always(64)


def traffic(
    *,
    per_second: float = 1.0,
    drafting: Drafting = DRAFTING,
    prompt: Lengths = PROMPT,
    output: Lengths = OUTPUT,
    even: bool = False,
    max_k: int = 8,
) -> Traffic:
    load = TaskLoad("code", 1.0, drafting, prompt, output)
    return Traffic((load,), (Pace(0.0, per_second, even=even),), max_k)


def requests(count: int = 200, seed: int = 0, **settings: object) -> list[Request]:
    return draw(traffic(**settings), count, seed)  # type: ignore[arg-type]


def played(
    workload: Sequence[Request],
    *,
    k: int = 0,
    engines: int = 1,
    machine: Machine = QUIET,
    by_model: bool = False,
    make: Callable[[Sequence[Engine]], Side] | None = None,
    table: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Run:
    return run(
        workload,
        [EngineSpec("pool", k, table)] * engines,
        make or (lambda fleet: Static(fleet, k)),
        machine=machine,
        drafts_by_model=by_model,
        seed=seed,
    )

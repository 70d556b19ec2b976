"""Where target and drafter can run: one GPU, separate GPUs, several drafters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from policies.planning.drafts import Draft
from policies.planning.memory import Engine, EngineMemory, Load, engine_memory


@dataclass(frozen=True, slots=True)
class Placement:
    """A way to place engines.

    Attributes:
        gpus: All that it takes.
        engines: Role and memory of each kind of engine; several of a kind are alike.
        held: Requests of the load's context that all engines together hold.
        offered: Whether vLLM can run it.
    """

    name: str
    words: str
    gpus: int
    engines: tuple[tuple[str, EngineMemory], ...]
    held: int
    offered: bool = True

    @property
    def fits(self) -> bool:
        """Whether every engine starts and holds the load."""
        return all(memory.fits for _role, memory in self.engines)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "words": self.words,
            "gpus": self.gpus,
            "fits": self.fits,
            "offered_by_vllm": self.offered,
            "requests_held": self.held,
            "engines": [{"role": role, **memory.as_dict()} for role, memory in self.engines],
        }


def placements(engine: Engine, load: Load, instances: int = 1) -> list[Placement]:
    """The ways to run a speculative engine beside a plain one, on the GPU of `engine`."""
    return list(_all(engine, load, instances))


def _all(engine: Engine, load: Load, instances: int) -> Iterator[Placement]:
    plain = replace(engine, draft=Draft("none"), k=0)
    half = engine.utilization / 2
    ours, theirs = (engine_memory(replace(one, utilization=half), load) for one in (plain, engine))
    where = "this machine" if engine.gpu.is_cpu else "one GPU" if engine.gpus == 1 else f"{engine.gpus} GPUs"
    yield Placement(
        "single",
        f"both engines on {where}, half of the memory each",
        engine.gpus,
        (("vanilla", ours), ("speculative", theirs)),
        ours.held + theirs.held,
    )
    if engine.gpu.is_cpu:
        return
    ours, theirs = engine_memory(plain, load), engine_memory(engine, load)
    each = "a GPU" if engine.gpus == 1 else f"{engine.gpus} GPUs"
    yield Placement(
        "separate",
        f"each engine on {each} of its own, the drafter beside its target",
        2 * engine.gpus,
        (("vanilla", ours), ("speculative", theirs)),
        ours.held + theirs.held,
    )
    if instances > 1:
        yield Placement(
            "instances",
            f"{instances} speculative engines, each with a drafter of its own, and a plain one",
            (instances + 1) * engine.gpus,
            (("vanilla", ours), ("speculative", theirs)),
            ours.held + instances * theirs.held,
        )
    if engine.draft.standalone and engine.draft.kv_shape is not None:
        alone = replace(
            engine,
            target=engine.draft.kv_shape,
            precision=engine.draft_precision,
            draft=Draft("none"),
            k=0,
            gpus=1,
            kv_bytes=None,
        )
        drafter = engine_memory(alone, load)
        yield Placement(
            "apart",
            "the drafter on a GPU of its own; vLLM does not offer it",
            engine.gpus + 1,
            (("target", ours), ("drafter", drafter)),
            min(ours.held, drafter.held),
            offered=False,
        )

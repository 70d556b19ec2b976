"""What is wrong with a pair, and what its operator should know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from policies.planning import Draft, Engine, EngineMemory, Load
from policies.planning.gains import Gain
from policies.planning.memory import GIB
from replicas.drafter_check import misfits
from replicas.tokenizer_check import TokenizerComparison, compare_tokenizers
from router.planning.engines import Planned

_FREE_STEP: Final = 1.1


def tokenizers(target: Planned, drafter: Planned | None, draft: Draft) -> TokenizerComparison:
    """The comparison of both tokenizers; only standalone drafters have one of their own."""
    if drafter is None or not draft.standalone:
        return TokenizerComparison(checked=False, notes=("the target's own tokenizer is used",))
    return compare_tokenizers(drafter.model.folder, target.model.folder)


def pair_problems(
    target: Planned, drafter: Planned | None, method: str, lengths: Iterable[int], *, heterogeneous: bool
) -> Iterator[str]:
    """Why a drafter cannot work on its target, by their configurations, at the draft `lengths` asked for."""
    config = drafter.config if drafter else None
    found = (problem for k in lengths for problem in misfits("", method, k, target.config, config))
    for problem in dict.fromkeys(found):
        yield problem.removeprefix(".draft_model: ").removeprefix(".")
    if method != "draft_model" or config is None or heterogeneous:
        return
    ours, theirs = config.get("vocab_size"), target.config.get("vocab_size")
    if ours != theirs:
        yield (
            f"vocab_size: the drafter's is {ours}, the target's {theirs}: vLLM refuses the pair, unless "
            "draft_options.use_heterogeneous_vocab is set (--heterogeneous)"
        )


def split_problems(engine: Engine) -> Iterator[str]:
    """Why vLLM would refuse to split the models over so many GPUs (its ModelConfig and SpeculativeConfig)."""
    if engine.target.heads % engine.gpus:
        yield f"gpus: {_split(engine.target.heads, engine.gpus)}"
    if not engine.draft.is_model:
        return
    if engine.draft_gpus not in {1, engine.gpus}:
        yield (
            f"draft_tensor_parallel_size (--draft-gpus): {engine.draft_gpus}, but vLLM splits a drafter over "
            f"1 GPU or as many as the target, {engine.gpus}"
        )
    elif engine.draft.kv_shape is not None and engine.draft.kv_shape.heads % engine.draft_gpus:
        yield f"gpus: the drafter: {_split(engine.draft.kv_shape.heads, engine.draft_gpus)}"


def _split(heads: int, gpus: int) -> str:
    most = max(count for count in range(1, gpus) if heads % count == 0)
    return f"{heads} attention heads cannot be split evenly over {gpus} GPUs: take {most}"


def load_warnings(engine: Engine, load: Load, gained: Sequence[Gain]) -> Iterator[str]:
    """What the load makes of the plan: texts that are too long, and drafts that are not checked for free."""
    longest = engine.target.max_position
    if load.context > longest:
        yield f"--context: {load.context} tokens are more than the {longest} that the model was made for"
    if engine.gpu.is_cpu:
        return
    for gain in gained:
        free = 1 + gain.k * gain.draft_cost
        if gain.step > free * _FREE_STEP:
            yield (
                f"with {load.concurrency} requests at once checking is not free: a step of k = {gain.k} "
                f"takes {gain.step:.2f} plain steps, alone {free:.2f}; the router lowers k by itself"
            )
            return


def advice(engine: Engine, memory: EngineMemory, load: Load) -> Iterator[str]:
    """What to do where it does not fit."""
    if memory.fits:
        return
    on_cpu = engine.gpu.is_cpu
    more = "a larger --kv-cache-gib" if on_cpu else "more --gpus, a larger --gpu, or --kv-fp8"
    if memory.starts:
        yield (
            f"{memory.held} of {load.concurrency} requests fit at once, the others wait or are preempted: "
            f"{more}, or a shorter --context"
        )
    else:
        before = (memory.weights + memory.draft_weights + memory.activations + memory.runtime) / GIB
        yield (
            f"the engine does not start: {before:.1f} GiB before any KV cache, of {memory.budget / GIB:.1f} "
            f"GiB, and a request needs {memory.needed / load.concurrency / GIB:.2f} GiB: {more}, or "
            "--quantization"
        )

"""The plan of a target, with a drafter or without."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from policies.planning import (
    Draft,
    Engine,
    Gain,
    Load,
    ShapeError,
    engine_memory,
    gains,
    placements,
    size_verdict,
)
from policies.planning.drafts import LOOKUPS
from policies.planning.gains import ACCEPTANCES, DRAFT_LENGTHS, plain_step_s
from policies.planning.gpus import CPU
from policies.planning.memory import DEFAULT_UTILIZATION, GIB
from policies.planning.parameters import parameters
from policies.speedup import StepCost
from replicas.drafter_check import k_problem, mask_problem
from replicas.drafting import drafter_folder, parallel_problem
from replicas.model_files import ModelFilesError
from replicas.profiles import EMBEDDED
from replicas.profiles import StepCost as ProfileStepCost
from replicas.tokenizer_check import TokenizerComparison
from router.planning.assumptions import ON_CPU, ON_GPUS
from router.planning.engines import ANY_GPU, Planned, found, placed
from router.planning.findings import advice, load_warnings, pair_problems, split_problems, tokenizers

DEFAULT_CONTEXT: Final = 2048
DEFAULT_CONCURRENCY: Final = 8
_WITHOUT_DRAFTER: Final = LOOKUPS | {"mtp"}
_MS: Final = 1000.0


@dataclass(frozen=True, slots=True)
class PairOptions:
    """What `specroute plan` was asked; None and `auto` are worked out.

    Where no draft `lengths` are asked for, they are the usual ones that the drafter can do.
    """

    target: str
    drafter: str | None = None
    method: str | None = None
    gpu: str | None = None
    gpus: int = 1
    draft_gpus: int | None = None
    context: int = DEFAULT_CONTEXT
    concurrency: int = DEFAULT_CONCURRENCY
    lengths: tuple[int, ...] | None = None
    acceptances: tuple[float, ...] = ACCEPTANCES
    dtype: str = "auto"
    quantization: str | None = None
    drafter_dtype: str = "auto"
    drafter_quantization: str | None = None
    kv_fp8: bool = False
    utilization: float = DEFAULT_UTILIZATION
    kv_cache_gib: float = 1.0
    instances: int = 1
    draft_cost: float | None = None
    heterogeneous: bool = False
    parallel: bool = False


def plan_pair(options: PairOptions) -> dict[str, Any]:
    """The whole plan, as JSON tells it; `ok` is whether it fits and the drafter can work.

    Raises:
        PlanError: A model, a GPU or a precision is unknown or cannot be read; one line.
    """
    gpu_name = options.gpu or (CPU if options.target == EMBEDDED else None)
    target, drafter = _models(options, on_cpu=gpu_name == CPU)
    method = options.method or (drafter.method if drafter else "none")
    draft = _draft(target, drafter, method, parallel=options.parallel)
    lengths = options.lengths or _usual_lengths(target, drafter, method)
    engine = _engine(options, target, drafter, draft, max(lengths), on_cpu=gpu_name == CPU)
    load = Load(options.context, options.concurrency)
    engine, memory = placed(engine, gpu_name, load)
    gained = _gains(engine, load, options, lengths) if method != "none" else []
    compared = tokenizers(target, drafter, draft)
    total = parameters(engine.target).total
    size = size_verdict(draft, engine.target)
    problems = [
        *split_problems(engine),
        *pair_problems(target, drafter, method, lengths, heterogeneous=options.heterogeneous),
        *_mask_problems(drafter, parallel=options.parallel),
        *(() if options.heterogeneous else compared.problems),
    ]
    warnings = [
        *target.warnings(total),
        *(drafter.warnings(draft.counts.total) if drafter is not None and draft.standalone else ()),
        *load_warnings(engine, load, gained),
        *([size.words] if size.verdict == "flagged" else ()),
        *advice(engine, memory, load),
    ]
    plain = replace(engine, draft=Draft("none"), k=0)
    step_s = plain_step_s(engine, load)
    return {
        "ok": memory.fits and not problems,
        "gpu": {
            "name": engine.gpu.name,
            "memory_gib": round(engine.gpu.memory_gib, 1),
            "count": engine.gpus,
            "chosen": gpu_name is None,
        },
        "load": {"context": load.context, "concurrency": load.concurrency},
        "target": _target_entry(target, total),
        "drafter": _drafter_entry(drafter, engine) if method != "none" else None,
        "size": size._asdict() if method != "none" else None,
        "tokenizer": _tokenizer_entry(compared, draft, options) if drafter is not None else None,
        "memory": memory.as_dict(),
        "memory_without_drafter": engine_memory(plain, load).as_dict(),
        "placements": [one.as_dict() for one in placements(engine, load, options.instances)],
        "plain_step_ms": None if step_s is None else round(step_s * _MS, 2),
        "gains": [gain.as_dict() for gain in gained],
        "problems": problems,
        "warnings": warnings,
        "assumptions": list(ON_CPU if engine.gpu.is_cpu else ON_GPUS),
    }


def _models(options: PairOptions, *, on_cpu: bool) -> tuple[Planned, Planned | None]:
    target = Planned(
        found(options.target, "--target"),
        dtype=options.dtype,
        quantization=options.quantization,
        on_cpu=on_cpu,
    )
    if options.drafter is None:
        return target, None
    try:
        name = drafter_folder(options.drafter)
    except ValueError as error:
        raise ModelFilesError(f"--drafter: {error}") from None
    return target, Planned(
        found(name, "--drafter"),
        dtype=options.drafter_dtype,
        quantization=options.drafter_quantization,
        on_cpu=on_cpu,
    )


def _draft(target: Planned, drafter: Planned | None, method: str, *, parallel: bool) -> Draft:
    if drafter is not None and method in _WITHOUT_DRAFTER:
        raise ShapeError(f"--drafter: method {method} has none of its own: leave it out")
    if drafter is None and method not in _WITHOUT_DRAFTER:
        raise ShapeError(f"--drafter: method {method} needs one: name its folder, or a published model")
    if drafter is not None:
        drafter.check_method(method, "--method")
    draft = (drafter or target).draft(method, target.shape())
    if not parallel:
        return draft
    if (wrong := parallel_problem(draft.method)) is not None:
        raise ShapeError(f"--parallel-drafting {wrong}")
    return replace(draft, one_pass=True)


def _mask_problems(drafter: Planned | None, *, parallel: bool) -> list[str]:
    if drafter is None or not parallel or (wrong := mask_problem(drafter.config)) is None:
        return []
    return [f"--drafter: {wrong}"]


def _usual_lengths(target: Planned, drafter: Planned | None, method: str) -> tuple[int, ...]:
    config = drafter.config if drafter else None
    return tuple(k for k in DRAFT_LENGTHS if k_problem(method, k, target.config, config) is None)


def _engine(
    options: PairOptions, target: Planned, drafter: Planned | None, draft: Draft, most_k: int, *, on_cpu: bool
) -> Engine:
    return Engine(
        target=target.shape(),
        precision=target.precision,
        gpu=ANY_GPU,
        draft=draft,
        draft_precision=(drafter or target).precision,
        gpus=1 if on_cpu else options.gpus,
        draft_gpus=1 if on_cpu else options.draft_gpus or options.gpus,
        k=0 if draft.method == "none" else most_k,
        max_model_len=options.context,
        max_num_seqs=options.concurrency,
        utilization=1.0 if on_cpu else options.utilization,
        kv_bytes=round(options.kv_cache_gib * GIB) if on_cpu else None,
        kv_value_bytes=1 if options.kv_fp8 else None,
    )


def _gains(engine: Engine, load: Load, options: PairOptions, lengths: tuple[int, ...]) -> list[Gain]:
    shape = ProfileStepCost()
    return gains(
        engine,
        load,
        lengths=lengths,
        acceptances=options.acceptances,
        draft_cost=options.draft_cost,
        measured=StepCost(shape.verify, shape.per_token, shape.per_draft_token)
        if engine.gpu.is_cpu
        else None,
    )


def _target_entry(target: Planned, total: int) -> dict[str, Any]:
    stored = target.model.stored
    return {
        "name": target.model.name,
        "source": str(target.model.folder) if target.model.folder else "known shape",
        "parameters": total,
        "stored_parameters": stored.parameters if stored else None,
        "precision": target.precision.words,
    }


def _drafter_entry(drafter: Planned | None, engine: Engine) -> dict[str, Any]:
    draft = engine.draft
    return {
        "name": drafter.model.name if drafter else draft.method,
        "method": draft.method,
        "parameters": draft.counts.total,
        "precision": engine.draft_precision.words if draft.is_model else None,
        "standalone": draft.standalone,
    }


def _tokenizer_entry(compared: TokenizerComparison, draft: Draft, options: PairOptions) -> dict[str, Any]:
    same = not compared.problems if compared.checked or compared.problems else None
    return {
        "needed": draft.standalone and not options.heterogeneous,
        "compatible": same if draft.standalone else True,
        **asdict(compared),
    }

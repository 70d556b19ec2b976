"""What drafting may gain: the formulas of Leviathan et al. (2023, arXiv 2211.17192), at a cost told by bytes.

Decoding waits for memory, so a pass takes as long as its bytes: weights once, and the KV cache of every
request. A drafter's pass against the target's gives c. With many requests at once, or with experts of which
more tokens read more, checking drafts is not free any longer: the roofline of bandwidth and arithmetic
(Williams et al., 2009) says how much it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from policies.planning.kv_cache import request_bytes
from policies.planning.memory import Engine, Load
from policies.planning.parameters import Parameters, experts_touched, parameters
from policies.planning.precision import Precision
from policies.planning.shapes import Shape
from policies.speedup import (
    StepCost,
    effective_acceptance,
    geometric_length,
    rule_of_thumb_speedup,
    two_model_speedup,
)

DRAFT_LENGTHS: Final = (1, 2, 3, 4, 5, 8)
ACCEPTANCES: Final = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
_GIGA, _TERA = 1e9, 1e12


@dataclass(frozen=True, slots=True)
class Gain:
    """Expected speedups at one k.

    Attributes:
        draft_cost: c, the drafter's time per token in target passes, alone on the engine.
        break_even: The alpha from which drafting pays, alone; None where no alpha does.
        step: Time of a step at the load, in plain steps of that load.
        loaded_break_even: As `break_even`, at the load.
        rule, alone, loaded: By alpha: the rule of thumb, the formula with c, and at the load.
    """

    k: int
    draft_cost: float
    break_even: float | None
    step: float
    loaded_break_even: float | None
    rule: dict[float, float]
    alone: dict[float, float]
    loaded: dict[float, float]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "k": self.k,
            "draft_cost": round(self.draft_cost, 4),
            "break_even_alpha": _rounded(self.break_even),
            "step_at_load": round(self.step, 4),
            "break_even_alpha_at_load": _rounded(self.loaded_break_even),
            "speedups": [
                {
                    "alpha": alpha,
                    "rule_of_thumb": round(self.rule[alpha], 4),
                    "alone": round(self.alone[alpha], 4),
                    "at_load": round(self.loaded[alpha], 4),
                }
                for alpha in self.alone
            ],
        }


def gains(
    engine: Engine,
    load: Load,
    *,
    acceptances: tuple[float, ...] = ACCEPTANCES,
    lengths: tuple[int, ...] = DRAFT_LENGTHS,
    draft_cost: float | None = None,
    measured: StepCost | None = None,
) -> list[Gain]:
    """A gain per draft length.

    `draft_cost` stands in for the c that bytes tell; `measured` for the roofline, with a step time that was
    measured.
    """
    return [_gain(engine, load, k, acceptances, draft_cost=draft_cost, measured=measured) for k in lengths]


def break_even(step: float, k: int) -> float | None:
    """The alpha at which E[L_k] = `step`, the time of a step in plain steps; None where it is above k + 1."""
    return effective_acceptance(step, k) if step <= k + 1 else None


def _gain(
    engine: Engine,
    load: Load,
    k: int,
    acceptances: tuple[float, ...],
    *,
    draft_cost: float | None,
    measured: StepCost | None,
) -> Gain:
    one = Load(load.context, 1)
    cost = cost_per_token(engine, one, k) if draft_cost is None else draft_cost
    at_load = cost_per_token(engine, load, k) if draft_cost is None else draft_cost
    if measured is not None:
        step = 1 + measured.verify + k * (measured.per_token + max(measured.per_draft_token, at_load))
    else:
        step = verification(engine, load, k) + k * at_load
    return Gain(
        k=k,
        draft_cost=cost,
        break_even=break_even(1 + k * cost, k),
        step=step,
        loaded_break_even=break_even(step, k),
        rule={alpha: rule_of_thumb_speedup(alpha, k) for alpha in acceptances},
        alone={alpha: two_model_speedup(alpha, k, cost) for alpha in acceptances},
        loaded={alpha: geometric_length(alpha, k) / step for alpha in acceptances},
    )


def cost_per_token(engine: Engine, load: Load, k: int) -> float:
    """c: the drafter's time for one of k tokens, in target passes; by bytes where both wait for memory."""
    if not engine.draft.is_model:
        return 0.0
    passes = 1 / k if engine.draft.one_pass else 1.0
    own = _drafter_seconds(engine, load)
    return passes * own / _target_seconds(engine, load, load.concurrency)


def verification(engine: Engine, load: Load, k: int) -> float:
    """Time of a pass that checks k drafts of every request, in passes that check none."""
    plain = _target_seconds(engine, load, load.concurrency)
    return _target_seconds(engine, load, load.concurrency * (k + 1)) / plain


def plain_step_s(engine: Engine, load: Load) -> float | None:
    """The least time of a plain step at this load; None where the bandwidth is not known."""
    return _target_seconds(engine, load, load.concurrency) if engine.gpu.bandwidth_gbs else None


def _target_seconds(engine: Engine, load: Load, tokens: int) -> float:
    kv = load.concurrency * request_bytes(
        engine.target, load.context, engine.value_bytes, gpus=engine.gpus, block=1
    )
    counts = parameters(engine.target)
    weights = read_bytes(counts, engine.target, engine.precision, tokens) / engine.gpus
    used = _used(counts, engine.target) / engine.gpus
    return _roofline(engine, weights + kv, used, tokens)


def _drafter_seconds(engine: Engine, load: Load) -> float:
    draft, kv = engine.draft, 0
    shape = draft.kv_shape or engine.target
    if draft.kv_shape is not None:
        kv = load.concurrency * request_bytes(
            draft.kv_shape, load.context, engine.value_bytes, gpus=engine.draft_gpus, block=1
        )
    shared = draft.shared_output * engine.precision.dtype_bytes
    weights = read_bytes(draft.counts, shape, engine.draft_precision, load.concurrency) + shared
    used = _used(draft.counts, shape) + draft.shared_output
    return _roofline(engine, weights / engine.draft_gpus + kv, used / engine.draft_gpus, load.concurrency)


def _roofline(engine: Engine, read: float, used: float, tokens: float) -> float:
    """The longer of reading and computing; in units of bytes where the hardware is not known."""
    if not engine.gpu.bandwidth_gbs or not engine.gpu.tflops:
        return read
    return max(read / (engine.gpu.bandwidth_gbs * _GIGA), 2 * used * tokens / (engine.gpu.tflops * _TERA))


def read_bytes(counts: Parameters, shape: Shape, precision: Precision, tokens: float) -> float:
    """Bytes of the weights that a pass over `tokens` tokens reads: all, but of the experts those chosen.

    An embedding is looked up, unless it is the output matrix too.
    """
    experts = counts.experts
    if shape.experts is not None and experts:
        experts = round(experts * experts_touched(shape.experts, tokens) / shape.experts.total)
    tied = counts.embedding if not counts.output else 0
    return precision.of(counts._replace(embedding=tied, experts=experts))


def _used(counts: Parameters, shape: Shape) -> float:
    """Parameters that one token meets."""
    share = shape.experts.used / shape.experts.total if shape.experts else 0.0
    tied = counts.embedding if not counts.output else 0
    return counts.output + tied + counts.attention + counts.mlp + counts.experts * share + counts.router


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

"""What an engine takes of each of its GPUs, and what is left for the KV cache.

As vLLM divides it: `gpu_memory_utilization` of the memory is the engine's; what weights, the peak of a pass
over `max_num_batched_tokens` tokens, CUDA itself and CUDA graphs leave of it becomes KV cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from policies.planning.drafts import Draft
from policies.planning.gpus import Gpu
from policies.planning.kv_cache import CPU_BLOCK_TOKENS, GPU_BLOCK_TOKENS, request_bytes, token_bytes
from policies.planning.parameters import parameters
from policies.planning.precision import Precision
from policies.planning.shapes import Shape

GIB: Final = 2**30
DEFAULT_UTILIZATION: Final = 0.92
"""vLLM 0.32's `gpu_memory_utilization`."""
_SAMPLED_LOGIT_BYTES: Final = 20
"""Per request and token of the vocabulary, while vLLM profiles its sampler: logits in 16 and 32 bits,
probabilities, a sorted copy. Checked with gpt-oss-20b on an A100: 1.2 GiB there beside weights and KV cache
(vLLM 0.19; myoceane.fr, "vLLM A100"), 1.5 GiB by this module."""
_CUDA_BYTES: Final = GIB // 2
"""CUDA's context and libraries: vLLM's logs show 0.1 to 0.3 GiB outside PyTorch (its pull request 12126)."""
_COLLECTIVES_BYTES: Final = GIB // 2
"""More where several GPUs exchange activations."""
_GRAPH_BYTES: Final = 3 * GIB // 4
"""CUDA graphs; vLLM estimates 0.73 GiB for 86 graphs of a small model (its pull request 39559)."""
CPU_RUNTIME_BYTES: Final = round(1.75 * GIB)
"""An engine on the CPU without weights and KV cache, measured with the embedded model; see docs/plan.md."""
_LARGE_GIB, _LARGEST_GIB = 70, 160
_CPU_BATCHED_TOKENS: Final = 2048


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine as it is to be configured.

    Attributes:
        gpus: Its tensor parallel size; `draft_gpus` is the drafter's, 1 or the same.
        utilization: Share of each GPU's memory that is the engine's.
        kv_bytes: A fixed size of the KV cache; None is what is left.
        kv_value_bytes: Of one number in the KV cache; None is that of the data type.
    """

    target: Shape
    precision: Precision
    gpu: Gpu
    draft: Draft
    draft_precision: Precision
    gpus: int = 1
    draft_gpus: int = 1
    k: int = 0
    max_model_len: int = 8192
    max_num_seqs: int = 16
    max_num_batched_tokens: int | None = None
    utilization: float = DEFAULT_UTILIZATION
    kv_bytes: int | None = None
    kv_value_bytes: int | None = None
    eager: bool = False

    @property
    def value_bytes(self) -> int:
        """Bytes of one number in the KV cache."""
        return self.kv_value_bytes or self.precision.dtype_bytes

    @property
    def batched_tokens(self) -> int:
        """Most tokens of one pass; vLLM's defaults for its server go by the GPU's memory."""
        if self.max_num_batched_tokens is not None:
            return self.max_num_batched_tokens
        if self.gpu.is_cpu:
            return _CPU_BATCHED_TOKENS
        if self.gpu.memory_gib >= _LARGEST_GIB:
            return 16384
        return 8192 if self.gpu.memory_gib >= _LARGE_GIB and not self.gpu.name.startswith("a100") else 2048


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of an engine: so many requests at once, each of so many tokens with its answer."""

    context: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Bytes on each GPU of an engine (on the machine, for engines on its CPU).

    Attributes:
        budget: What the engine may take.
        kv: What is left for the KV cache; negative where the weights alone are too much.
        kv_token: Bytes per token in it, the drafter's included.
        capacity: Tokens it holds of texts that no sliding window shortens.
        held: Requests of the load's context it holds at once.
        starts: Whether one request of the longest length fits, without which vLLM refuses to start.
        fits: Whether it starts and holds the load.
    """

    budget: float
    weights: float
    draft_weights: float
    activations: float
    runtime: float
    kv: float
    kv_token: int
    capacity: int
    held: int
    needed: float
    starts: bool
    fits: bool

    @property
    def used(self) -> float:
        """All that the engine takes."""
        return self.weights + self.draft_weights + self.activations + self.runtime + max(self.kv, 0.0)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: GiB to the hundredth, and counts."""
        sizes = ("budget", "weights", "draft_weights", "activations", "runtime", "kv", "needed", "used")
        return {f"{name}_gib": round(getattr(self, name) / GIB, 2) for name in sizes} | {
            "kv_bytes_per_token": self.kv_token,
            "kv_capacity_tokens": self.capacity,
            "requests_held": self.held,
            "starts": self.starts,
            "fits": self.fits,
        }


def engine_memory(engine: Engine, load: Load) -> EngineMemory:
    """What the engine takes, and whether it can do what is asked."""
    weights = engine.precision.of(parameters(engine.target)) / engine.gpus
    draft_weights = engine.draft_precision.of(engine.draft.counts) / engine.draft_gpus
    activations = _activations(engine)
    runtime = _runtime(engine)
    budget = engine.gpu.memory_gib * GIB * engine.utilization
    left = budget - weights - draft_weights - activations - runtime
    kv = left if engine.kv_bytes is None else float(engine.kv_bytes)
    token, request = _kv_token(engine), kv_request(engine, load.context)
    block = CPU_BLOCK_TOKENS if engine.gpu.is_cpu else GPU_BLOCK_TOKENS
    needed = load.concurrency * request
    possible = kv <= left and kv > 0
    starts = possible and kv >= kv_request(engine, engine.max_model_len)
    return EngineMemory(
        budget=budget,
        weights=weights,
        draft_weights=draft_weights,
        activations=activations,
        runtime=runtime,
        kv=kv,
        kv_token=token,
        capacity=int(kv // (token * block)) * block if possible else 0,
        held=int(kv // request) if possible else 0,
        needed=needed,
        starts=starts,
        fits=starts and kv >= needed,
    )


def kv_request(engine: Engine, tokens: int) -> int:
    """Bytes of one request in the KV cache of each GPU, the drafter's layers included."""
    block = CPU_BLOCK_TOKENS if engine.gpu.is_cpu else GPU_BLOCK_TOKENS
    own = request_bytes(engine.target, tokens, engine.value_bytes, gpus=engine.gpus, block=block)
    if engine.draft.kv_shape is None:
        return own
    return own + request_bytes(
        engine.draft.kv_shape, tokens, engine.value_bytes, gpus=engine.draft_gpus, block=block
    )


def _kv_token(engine: Engine) -> int:
    own = token_bytes(engine.target, engine.value_bytes, engine.gpus)
    if engine.draft.kv_shape is None:
        return own
    return own + token_bytes(engine.draft.kv_shape, engine.value_bytes, engine.draft_gpus)


def _runtime(engine: Engine) -> float:
    if engine.gpu.is_cpu:
        return CPU_RUNTIME_BYTES
    collectives = _COLLECTIVES_BYTES if engine.gpus > 1 else 0
    return _CUDA_BYTES + collectives + (0 if engine.eager else _GRAPH_BYTES)


def _activations(engine: Engine) -> float:
    """The larger of a pass over the most tokens and of sampling for the most requests; one frees the other.

    vLLM profiles its sampler with one draft per request: two rows of logits where drafts are checked.
    """
    forward = _forward(engine.target, engine.batched_tokens, engine.precision.dtype_bytes, engine.gpus)
    if engine.draft.kv_shape is not None:
        forward = max(
            forward,
            _forward(
                engine.draft.kv_shape, engine.batched_tokens, engine.precision.dtype_bytes, engine.draft_gpus
            ),
        )
    rows = engine.max_num_seqs * (2 if engine.k else 1)
    return max(forward, rows * engine.target.vocabulary * _SAMPLED_LOGIT_BYTES)


def _forward(shape: Shape, tokens: int, value_bytes: int, gpus: int) -> float:
    """The hidden state, the residual, and the widest thing between them in one layer."""
    attention = 2 * shape.query_width + 2 * shape.kv_width
    widest = max(attention, 3 * shape.width)
    if shape.latent is not None:
        heads = shape.heads * (
            2 * shape.latent.plain_head + shape.latent.rotary_head + shape.latent.value_head
        )
        widest = max(heads, 3 * shape.width)
    between = math.ceil(widest / gpus)
    if shape.experts is not None:
        mixture = shape.experts
        copies = max(2 * mixture.width / gpus, shape.hidden) + mixture.width / gpus
        between = max(between, math.ceil(mixture.used * copies))
    return tokens * value_bytes * (2 * shape.hidden + between)

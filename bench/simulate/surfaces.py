"""True step times: what one target pass of a simulated engine takes, rebuilt from measurements.

These are the simulator's truth, which the router never sees: it fits its own straight model
(`policies.cost`) to the passes it observes. On purpose they are not straight. A pass works on

    tokens = decoding requests + draft tokens + prompt tokens

of the target, and where the drafter is a model on its passes too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

from policies.cost import StepLoad


class Surface(Protocol):
    """The true time of one pass, without noise."""

    def seconds(self, load: StepLoad, *, drafter: bool) -> float:
        """Seconds of a pass over `load` on an engine with or without a drafter."""
        ...


@dataclass(frozen=True, slots=True)
class Staircase:
    """A compute-bound machine whose matrix kernels work on tiles of tokens.

        T = plain + second * [tokens > 1] + tile * (tiles - 1) + context * (context tokens)

    with tiles = ceil(tokens / tile_tokens): the second token starts a kernel for a whole tile, so all up to
    `tile_tokens` cost the same. The drafter copies, and costs nothing measurable.
    """

    plain_s: float
    second_s: float
    tile_s: float
    tile_tokens: int
    context_s: float

    def seconds(self, load: StepLoad, *, drafter: bool) -> float:  # noqa: ARG002 - copying costs nothing
        """Seconds of a pass over `load`."""
        tokens = load.requests + load.drafted + load.prefill
        time_s = self.plain_s + self.context_s * load.context
        if tokens > 1:
            time_s += self.second_s + self.tile_s * -(-tokens // self.tile_tokens) - self.tile_s
        return time_s


@dataclass(frozen=True, slots=True)
class Roofline:
    """A GPU: reading the weights bounds small passes from below, arithmetic large ones.

        T = overhead + (weights^4 + (token * padded tokens)^4)^(1/4) + context * (context tokens)
            + drafter's part

    The fourth powers round the corner between the two bounds, where both cost. Decoding passes are padded to
    the next captured graph, a multiple of `padding` tokens. A model drafter runs `asked` times, each over the
    decoding requests, and reads prompts too; asked for nothing it still keeps its cache up: one pass.
    """

    overhead_s: float
    weights_s: float
    token_s: float
    padding: int
    context_s: float
    draft_pass_s: float = 0.0
    draft_token_s: float = 0.0
    idle_draft_s: float = 0.0

    def seconds(self, load: StepLoad, *, drafter: bool) -> float:
        """Seconds of a pass over `load`."""
        tokens = load.requests + load.drafted + load.prefill
        arithmetic_s = self.token_s * -(-tokens // self.padding) * self.padding
        time_s = self.overhead_s + math.sqrt(math.hypot(self.weights_s**2, arithmetic_s**2))
        time_s += self.context_s * load.context
        if drafter:
            time_s += self.idle_draft_s
            time_s += load.asked * (self.draft_pass_s + self.draft_token_s * load.requests)
            time_s += self.draft_token_s * (load.drafted + load.prefill)
        return time_s


@dataclass(frozen=True, slots=True)
class Machine:
    """An engine on some hardware: its surface, its limits, and where the figures come from.

    `noise` is the standard deviation of a pass time's logarithm. `slots` are vLLM's `max_num_seqs`,
    `pass_tokens` its `max_num_batched_tokens`, `cache_tokens` the KV cache's size (requests reserve all they
    may need); a drafter's weights and its own cache take `drafter_cache_tokens` of it.
    """

    name: str
    source: str
    surface: Surface
    slots: int
    pass_tokens: int
    cache_tokens: int
    drafter_cache_tokens: int = 0
    noise: float = 0.03

    def capacity(self, *, drafter: bool) -> int:
        """Tokens of context the engine holds at once."""
        return self.cache_tokens - (self.drafter_cache_tokens if drafter else 0)


CPU = Machine(
    name="cpu-smollm2-135m",
    source="docs/decisions/0004: SmolLM2-135M in float32 on one x86-64 core; a plain step takes about 30 ms, "
    "verifying 2 to 16 tokens about 0.6 of a plain step more, flat. Not measured, but derived from the "
    "model's shape: further tiles of 16 tokens at the arithmetic rate of prompts, 46 kB of cache read per "
    "context token.",
    surface=Staircase(plain_s=0.030, second_s=0.018, tile_s=0.030, tile_tokens=16, context_s=3e-6),
    slots=16,
    pass_tokens=2048,
    cache_tokens=60_000,
)

_QWEN3_32B = Roofline(
    overhead_s=0.0030,
    weights_s=0.0085,
    token_s=56e-6,
    padding=8,
    context_s=27e-9,
)

H200_EAGLE3 = Machine(
    name="2xh200-qwen3-32b-eagle3",
    source="github.com/llm-d/llm-d, pull request 2074, guides/spec-decoding/benchmark-results/"
    "vllm-qwen3-32b-eagle3: Qwen3-32B on 2 H200 with and without EAGLE-3 at k = 3; TPOT 13.2 -> 9.7 ms at "
    "1 QPS, 24.6 -> 21.4 ms at 4, throughput -13 % at 8. Weights read at 80 % of the bandwidth, 131 kB of "
    "cache per GPU and context token; arithmetic and the drafter's share fitted to the published ladder.",
    surface=replace(_QWEN3_32B, draft_pass_s=0.0024, draft_token_s=4.4e-6, idle_draft_s=0.0007),
    slots=512,
    pass_tokens=8192,
    cache_tokens=990_000,
    drafter_cache_tokens=60_000,
)

H200_NGRAM = replace(
    H200_EAGLE3,
    name="2xh200-qwen3-32b-ngram",
    source="The same target (see 2xh200-qwen3-32b-eagle3) with a drafter that copies: no drafter's part.",
    surface=_QWEN3_32B,
    drafter_cache_tokens=0,
)

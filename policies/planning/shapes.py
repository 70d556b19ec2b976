"""The dimensions of a decoder: all that its weights and its KV cache follow from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class LatentAttention(NamedTuple):
    """Multi-head latent attention (DeepSeek-V2, 2024, arXiv 2405.04434): keys and values from one vector.

    `query_rank` is None where queries are not compressed.
    """

    query_rank: int | None
    latent: int
    plain_head: int
    rotary_head: int
    value_head: int


class Experts(NamedTuple):
    """The mixture of experts of a layer: `used` of `total` answer for a token, `shared_width` always does.

    `biased` experts carry biases on both projections, and so does their router.
    """

    total: int
    used: int
    width: int
    shared_width: int
    shared_gate: bool
    score_bias: bool
    biased: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder by its dimensions.

    Attributes:
        model_type: Its name in transformers.
        experts: None in a dense model; else `expert_layers` of the layers have them.
        windows: For each layer, how many tokens its attention looks back; None for all of them.
        norms: Normalisations per layer, each as wide as the hidden state.
        head_norms: Weights of the normalisations of queries and keys, per layer.
        sinks: Learned attention sinks, per layer.
        drafting_layers: Layers after the last that predict further tokens (multi-token prediction).
    """

    model_type: str
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    width: int
    tied_embeddings: bool
    max_position: int
    windows: tuple[int | None, ...]
    latent: LatentAttention | None = None
    experts: Experts | None = None
    expert_layers: int = 0
    query_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    norms: int = 2
    head_norms: int = 0
    sinks: int = 0
    drafting_layers: int = 0

    @property
    def query_width(self) -> int:
        """All heads' queries together."""
        return self.heads * self.head_size

    @property
    def kv_width(self) -> int:
        """All heads' keys together; values are as wide."""
        return self.kv_heads * self.head_size

"""How many parameters a decoder has, by what they are for."""

from __future__ import annotations

from typing import NamedTuple

from policies.planning.shapes import Experts, Shape


class Parameters(NamedTuple):
    """Counts. `attention`, `mlp` and `experts` are the matrices that quantisation makes smaller.

    `embedding` is looked up, a row per token; the rest is read in every pass, of `experts` only those used.
    """

    embedding: int
    output: int
    attention: int
    mlp: int
    experts: int
    router: int
    small: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def parameters(shape: Shape) -> Parameters:
    """The parameters of a decoder without layers for drafting, as transformers counts them."""
    mixture = shape.experts
    dense_layers = shape.layers - shape.expert_layers
    embedding = shape.vocabulary * shape.hidden
    layer = layer_parameters(shape, with_experts=False)
    sparse = layer_parameters(shape, with_experts=True) if mixture else layer
    return Parameters(
        embedding=embedding,
        output=0 if shape.tied_embeddings else embedding,
        attention=shape.layers * layer.attention,
        mlp=dense_layers * layer.mlp + shape.expert_layers * sparse.mlp,
        experts=shape.expert_layers * sparse.experts,
        router=shape.expert_layers * sparse.router,
        small=dense_layers * layer.small + shape.expert_layers * sparse.small + shape.hidden,
    )


def met_by_a_token(counts: Parameters, shape: Shape) -> float:
    """Of a decoder's parameters those that a token meets: all, or of its experts those that are used."""
    unused = 1.0 - shape.experts.used / shape.experts.total if shape.experts else 0.0
    return counts.total - counts.experts * unused


def layer_parameters(shape: Shape, *, with_experts: bool, inputs: int | None = None) -> Parameters:
    """One layer's. `inputs` is the width of what its attention reads, where that is not the hidden state."""
    attention, small = _attention(shape, inputs or shape.hidden)
    small += shape.norms * shape.hidden + shape.head_norms + shape.sinks
    mlp = 3 * shape.hidden * shape.width
    experts = router = 0
    if with_experts and shape.experts is not None:
        mlp, experts, router, biases = _experts(shape.experts, shape.hidden)
        small += biases
    elif shape.mlp_bias:
        small += 2 * shape.width + shape.hidden
    return Parameters(0, 0, attention, mlp, experts, router, small)


def _attention(shape: Shape, inputs: int) -> tuple[int, int]:
    """Weights of the projections, and of what stands beside them."""
    if shape.latent is None:
        projections = inputs * (shape.query_width + 2 * shape.kv_width) + shape.query_width * shape.hidden
        biases = (shape.query_width + 2 * shape.kv_width if shape.query_bias else 0) + (
            shape.hidden if shape.output_bias else 0
        )
        return projections, biases
    latent = shape.latent
    queries = shape.heads * (latent.plain_head + latent.rotary_head)
    projections = (
        inputs * (latent.latent + latent.rotary_head)
        + latent.latent * shape.heads * (latent.plain_head + latent.value_head)
        + shape.heads * latent.value_head * shape.hidden
    )
    if latent.query_rank is None:
        return projections + inputs * queries, latent.latent
    return projections + latent.query_rank * (inputs + queries), latent.latent + latent.query_rank


def _experts(mixture: Experts, hidden: int) -> tuple[int, int, int, int]:
    """What every token passes, the experts, their router, and biases."""
    shared = 3 * hidden * mixture.shared_width
    experts = mixture.total * 3 * hidden * mixture.width
    router = hidden * (mixture.total + (1 if mixture.shared_gate else 0))
    biases = mixture.total if mixture.score_bias else 0
    if mixture.biased:
        biases += mixture.total * (2 * mixture.width + hidden) + mixture.total
    return shared, experts, router, biases


def experts_touched(mixture: Experts, tokens: float) -> float:
    """How many experts a pass over `tokens` tokens reads, when each picks at random: E (1 - (1 - u/E)^n)."""
    share: float = (1 - mixture.used / mixture.total) ** tokens
    return mixture.total * (1 - share)

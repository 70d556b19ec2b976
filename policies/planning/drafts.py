"""Drafters by their shapes: standalone models, heads on the target, layers of the target, and lookups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.planning.configs import ShapeError, shape_of
from policies.planning.parameters import Parameters, layer_parameters, parameters
from policies.planning.shapes import Shape

NOTHING: Final = Parameters(0, 0, 0, 0, 0, 0, 0)
LOOKUPS: Final = frozenset({"none", "ngram", "suffix"})
_AUXILIARY_STATES: Final = 3  # EAGLE-3 reads a low, a middle and a high layer of the target


@dataclass(frozen=True, slots=True)
class Draft:
    """What a drafter holds and reads.

    Attributes:
        method: vLLM's name of it.
        counts: Its own parameters.
        kv_shape: The layers for which it keeps a KV cache, None where it keeps none.
        shared_output: Parameters of the target's output matrix that every draft reads too.
        one_pass: All k tokens come from one pass; else every token is a pass.
    """

    method: str
    counts: Parameters = NOTHING
    kv_shape: Shape | None = None
    shared_output: int = 0
    one_pass: bool = False

    @property
    def standalone(self) -> bool:
        """Whether it is a language model of its own; size rules are for these."""
        return self.method == "draft_model"

    @property
    def is_model(self) -> bool:
        """Whether it has weights."""
        return self.counts.total > 0


def draft_of(method: str, target: Shape, config: Mapping[str, Any] | None) -> Draft:
    """The drafter of a method; `config` is its config.json, for methods that have one.

    Raises:
        ShapeError: The configuration is missing or does not describe such a drafter.
    """
    if method in LOOKUPS:
        return Draft(method)
    output = target.vocabulary * target.hidden
    if method == "mtp":
        if not target.drafting_layers:
            raise ShapeError("num_nextn_predict_layers: the target has no MTP layers")
        return Draft(method, _mtp(target), _kv(target, target.drafting_layers), shared_output=output)
    if config is None:
        raise ShapeError(f"method {method} needs a drafter: name its folder")
    if method == "medusa":
        return Draft(method, _medusa(target, config), one_pass=True)
    shape = shape_of(config)
    if method == "draft_model":
        return Draft(method, parameters(shape), shape)
    if method == "eagle3":
        return Draft(method, _eagle3(target, shape, config), shape)
    return Draft(method, _eagle(target, shape), shape, shared_output=output)


def method_of(config: Mapping[str, Any]) -> str:
    """The method a drafter was made for, by its config.json; a plain language model is a `draft_model`."""
    names = f"{config.get('architectures')} {config.get('model_type')}".lower()
    if "eagle3" in names or "draft_vocab_size" in config:
        return "eagle3"
    if "eagle" in names:
        return "eagle"
    if "medusa" in names or "medusa_num_heads" in config:
        return "medusa"
    return "draft_model"


def _kv(target: Shape, layers: int) -> Shape:
    return replace(target, layers=layers, windows=(None,) * layers)


def _eagle3(target: Shape, head: Shape, config: Mapping[str, Any]) -> Parameters:
    """EAGLE-3 (2025, arXiv 2503.01840): its attention reads the embedding beside the fused hidden states."""
    states = config.get("num_aux_hidden_states", _AUXILIARY_STATES)
    width = config.get("target_hidden_size", target.hidden)
    vocabulary = config.get("draft_vocab_size", head.vocabulary)
    if not all(isinstance(number, int) and number > 0 for number in (states, width, vocabulary)):
        raise ShapeError(
            "num_aux_hidden_states, target_hidden_size, draft_vocab_size: expected whole numbers"
        )
    layer = layer_parameters(head, with_experts=False, inputs=2 * head.hidden)
    return Parameters(
        embedding=0,  # the target's
        output=vocabulary * head.hidden,
        attention=head.layers * layer.attention,
        mlp=head.layers * layer.mlp + states * width * head.hidden,
        experts=0,
        router=0,
        small=head.layers * (layer.small + head.hidden) + head.hidden,
    )


def _eagle(target: Shape, head: Shape) -> Parameters:
    """EAGLE (2024, arXiv 2401.15077): embedding and hidden state fused; the output matrix is the target's."""
    layer = layer_parameters(head, with_experts=False)
    fused = (head.hidden + target.hidden) * head.hidden
    return Parameters(
        0, 0, head.layers * layer.attention, head.layers * layer.mlp + fused, 0, 0, head.layers * layer.small
    )


def _medusa(target: Shape, config: Mapping[str, Any]) -> Parameters:
    """Medusa (2024, arXiv 2401.10774): per head some square layers and an output matrix."""
    heads = config.get("num_heads", config.get("medusa_num_heads"))
    layers = config.get("num_hidden_layers", config.get("medusa_num_layers", 1))
    vocabulary = config.get("truncated_vocab_size") or target.vocabulary
    if not all(isinstance(number, int) and number > 0 for number in (heads, layers, vocabulary)):
        raise ShapeError("num_heads: expected a whole number: is this the config.json of Medusa heads?")
    square, width = target.hidden**2, target.hidden
    return Parameters(0, heads * vocabulary * width, 0, heads * layers * square, 0, 0, 0)


def _mtp(target: Shape) -> Parameters:
    """A layer like the target's last, which reads the embedding beside the hidden state (DeepSeek-V3)."""
    layer = layer_parameters(target, with_experts=target.expert_layers > 0)
    each = layer._replace(
        mlp=layer.mlp + 2 * target.hidden * target.hidden, small=layer.small + 3 * target.hidden
    )
    return Parameters(*(target.drafting_layers * count for count in each))

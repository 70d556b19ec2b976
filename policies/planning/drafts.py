"""Drafters by their shapes: standalone models, heads on the target, layers of the target, and lookups."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.planning.configs import ShapeError, shape_of
from policies.planning.parameters import Parameters, layer_parameters, parameters
from policies.planning.shapes import Shape

NOTHING: Final = Parameters(0, 0, 0, 0, 0, 0, 0)
LOOKUPS: Final = frozenset({"none", "ngram", "suffix"})
_AUXILIARY_STATES: Final = 3  # EAGLE-3 reads a low, a middle and a high layer of the target
_BLOCK_STATES: Final = 5  # and a DFlash block usually five of its layers
_WITH_FOLDER: Final = frozenset({"draft_model", "medusa", "eagle", "eagle3", "dflash", "dspark"})
_EAGLE: Final = frozenset({"eagle", "eagle3"})
_BLOCKS: Final = frozenset({"dflash", "dspark"})
_LAYER_IDS: Final = (
    "target_layer_ids",
    "dspark_target_layer_ids",
    "aux_hidden_state_layer_ids",
    "eagle_aux_hidden_state_layer_ids",
)
_HEAD_LAYERS: Final = 8
_NAMES: Final = ("architectures", "model_type", "speculators_model_type")
_TELLING: Final = ("dflash_config", "draft_vocab_size", "medusa_num_heads")
_MARKS: Final = (
    ("dspark", "dspark"),
    ("dflash", "dflash"),
    ("eagle3", "eagle3"),
    ("peagle", "eagle3"),
    ("draft_vocab_size", "eagle3"),
    ("eagle", "eagle"),
    ("medusa", "medusa"),
)
"""What tells of a method in a configuration, the surest first."""
_FUSION: Final = frozenset({"fc.weight", "model.fc.weight"})  # joins hidden states and embeddings


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
    if method in _BLOCKS:
        counts = _block(target, shape, config)
    elif method == "draft_model":
        counts = parameters(shape)
    else:
        counts = _eagle3(target, shape, config) if method == "eagle3" else _eagle(target, shape)
    is_whole = counts.output or method == "draft_model"
    return Draft(method, counts, shape, 0 if is_whole else output, one_pass=method in _BLOCKS)


def head_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A head's configuration with its layer's beside it: the `speculators` format keeps that apart."""
    layer = config.get("transformer_layer_config")
    return {**layer, **config} if isinstance(layer, Mapping) else config


def method_of(config: Mapping[str, Any], tensors: Collection[str] = ()) -> str:
    """The method a drafter was made for, by its config.json; a plain language model is a `draft_model`.

    `tensors` are the names of its weights, where they are known: EAGLE heads are often called as the model
    that their layer is taken from.
    """
    said = [str(config.get(key)) for key in _NAMES] + [key for key in _TELLING if key in config]
    words = " ".join(said).lower()
    if (named := next((method for mark, method in _MARKS if mark in words), None)) is not None:
        return named
    if any(name.startswith("midlayer.") for name in tensors):
        return "eagle3"
    return "eagle" if _FUSION.intersection(tensors) else "draft_model"


def other_method(method: str, config: Mapping[str, Any], tensors: Collection[str] = ()) -> str | None:
    """The method that a drafter was made for instead of `method`; None where it may be what is asked for.

    Engines give an EAGLE head its name themselves, and Medusa heads theirs, so files that could be such heads
    are taken for them: of an EAGLE head by its weights, or by having a few layers only. A target may carry
    its DSpark block itself.
    """
    made_for = method_of(config, tensors)
    if method not in _WITH_FOLDER or made_for == method:
        return None
    if method == "draft_model" or method_of(config) != "draft_model":
        return made_for
    if method == "dspark":
        return None
    if method == "medusa":
        may_be = "num_attention_heads" not in config
    elif tensors:
        may_be = made_for in _EAGLE  # a DFlash block joins states as these do
    else:
        layers = config.get("num_hidden_layers")
        may_be = not isinstance(layers, int) or layers <= _HEAD_LAYERS
    return None if may_be else made_for


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


def _block(target: Shape, block: Shape, config: Mapping[str, Any]) -> Parameters:
    """DFlash (2026, arXiv 2602.06036): all k from one pass over layers that read fused states of the target.

    Embedding and output are the target's, but for a draft vocabulary of its own. DSpark adds a transition of
    low rank from each token to the next.
    """
    own = config.get("dflash_config")
    found = [*([own] if isinstance(own, Mapping) else []), config]
    layers = [one[key] for one in found for key in _LAYER_IDS if isinstance(one.get(key), list)]
    states = len(layers[0]) if layers else _BLOCK_STATES
    rank = config.get("markov_rank", 0)
    vocabulary = config.get("draft_vocab_size") or 0
    width = config.get("target_hidden_size") or target.hidden
    if not all(isinstance(number, int) and number >= 0 for number in (rank, vocabulary, width)):
        raise ShapeError("draft_vocab_size, target_hidden_size, markov_rank: expected whole numbers")
    layer = layer_parameters(block, with_experts=False)
    return Parameters(
        embedding=0,
        output=vocabulary * block.hidden,
        attention=block.layers * layer.attention,
        mlp=block.layers * layer.mlp + states * width * block.hidden,
        experts=0,
        router=0,
        small=block.layers * layer.small + rank * (block.vocabulary + (vocabulary or block.vocabulary)),
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

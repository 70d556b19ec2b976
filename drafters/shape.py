"""The sizes of the model that is distilled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from drafters.errors import DraftError

_NEEDED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Llama, from its config.json."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    vocabulary: int
    norm_epsilon: float
    rotary_base: float
    positions: int

    @property
    def aux_layers(self) -> tuple[int, int, int]:
        """After how many layers EAGLE-3 reads the residual stream: vLLM's choice for Llama."""
        return 2, self.layers // 2, self.layers - 3


def read_shape(folder: Path) -> Shape:
    """The sizes in `folder/config.json`.

    Raises:
        DraftError: There is no such file, or it is not of a plain Llama.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DraftError(
            f"{file}: no readable config.json ({error}): name a prepared model folder"
        ) from error
    if config.get("architectures") != ["LlamaForCausalLM"]:
        raise DraftError(
            f"{file}: architectures is {config.get('architectures')}: only LlamaForCausalLM can be distilled"
        )
    if missing := [name for name in _NEEDED if not isinstance(config.get(name), int)]:
        raise DraftError(f"{file}: {missing[0]} is missing")
    rotary = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rotary.get("rope_type", "default") != "default":
        raise DraftError(f"{file}: rope_type {rotary['rope_type']} is not supported: only default is")
    heads = config["num_attention_heads"]
    shape = Shape(
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        key_value_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or config["hidden_size"] // heads,
        vocabulary=config["vocab_size"],
        norm_epsilon=config.get("rms_norm_eps", 1e-6),
        rotary_base=rotary.get("rope_theta", config.get("rope_theta", 10000.0)),
        positions=config.get("max_position_embeddings", 2048),
    )
    first, middle, last = shape.aux_layers
    if not first < middle < last:
        raise DraftError(f"{file}: {shape.layers} layers are too few for EAGLE-3's three hidden states")
    return shape

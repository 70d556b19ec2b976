"""Shapes from the `config.json` of a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from policies.planning.shapes import Experts, LatentAttention, Shape

LIKE_LLAMA: Final = frozenset(
    {"llama", "mistral", "qwen2", "qwen3", "phi3", "smollm3", "gemma2", "gemma3_text"}
)
WITH_EXPERTS: Final = frozenset(
    {"mixtral", "qwen2_moe", "qwen3_moe", "glm4_moe", "deepseek_v2", "deepseek_v3", "gpt_oss"}
)
KNOWN_TYPES: Final = LIKE_LLAMA | WITH_EXPERTS
"""Architectures whose parameters are counted exactly; others with the same keys are counted like Llama."""

_GEMMA: Final = frozenset({"gemma2", "gemma3_text"})
_TIED: Final = _GEMMA | {"smollm3"}  # where config.json may leave tie_word_embeddings out
_COUNTS_EXPERTS: Final = ("n_routed_experts", "num_local_experts", "num_experts")
MTP_LAYERS: Final = (
    "num_nextn_predict_layers",
    "mtp_num_hidden_layers",
    "num_mtp_layers",
    "num_mtp_modules",
)
"""Where a model says how many layers of its own draft, by architecture."""
_OTHER_LAYERS: Final = frozenset({"linear_attention", "mamba", "recurrent", "conv", "rwkv"})
_NAMES_BY_WINDOW: Final = frozenset({"sliding_attention", "local", "chunked_attention"})
_MOST: Final = 10**8
_MOST_LAYERS: Final = 10_000


class ShapeError(ValueError):
    """A config.json that no shape can be read from; one line that names the key."""


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The decoder's part of a configuration: models that read more than text keep it in `text_config`."""
    text = config.get("text_config")
    return {"torch_dtype": config.get("torch_dtype"), **text} if isinstance(text, Mapping) else config


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The shape that a config.json describes.

    Raises:
        ShapeError: A dimension is missing or impossible, or layers are not attention.
    """
    config = text_config(config)
    kind = str(config.get("model_type", ""))
    hidden = _number(config, "hidden_size")
    layers = _number(config, "num_hidden_layers", most=_MOST_LAYERS)
    heads = _number(config, "num_attention_heads")
    if config.get("head_dim") is None and hidden % heads:
        raise ShapeError(f"hidden_size: {hidden} cannot be shared by {heads} heads, and there is no head_dim")
    head_size = _number(config, "head_dim", hidden // heads)
    kv_heads = _number(config, "num_key_value_heads", heads)
    if heads % kv_heads:
        raise ShapeError(f"num_key_value_heads: {kv_heads} does not divide num_attention_heads, {heads}")
    experts = _experts(config, kind)
    bias = bool(config.get("attention_bias", kind == "gpt_oss"))
    return Shape(
        model_type=kind,
        vocabulary=_number(config, "vocab_size"),
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        width=_number(config, "intermediate_size"),
        tied_embeddings=bool(config.get("tie_word_embeddings", kind in _TIED)),
        max_position=_number(config, "max_position_embeddings", 2048),
        windows=_windows(config, kind, layers),
        latent=_latent(config),
        experts=experts,
        expert_layers=_expert_layers(config, layers) if experts else 0,
        query_bias=bias or kind in {"qwen2", "qwen2_moe"},
        output_bias=bias and kind not in {"qwen2", "qwen2_moe", "glm4_moe"},
        mlp_bias=bool(config.get("mlp_bias")),
        norms=4 if kind in _GEMMA else 2,
        head_norms=_head_norms(config, kind, head_size),
        sinks=heads if kind == "gpt_oss" else 0,
        drafting_layers=max(_number(config, key, 0, least=0) for key in MTP_LAYERS),
    )


def _number(
    config: Mapping[str, Any], key: str, default: int | None = None, *, least: int = 1, most: int = _MOST
) -> int:
    value = config.get(key)
    if value is None:
        if default is None:
            raise ShapeError(f"{key}: missing: is this the config.json of a decoder?")
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ShapeError(f"{key}: expected a whole number from {least} to {most}, not {str(value)[:40]!r}")
    return value


def _windows(config: Mapping[str, Any], kind: str, layers: int) -> tuple[int | None, ...]:
    window = config.get("sliding_window")
    named = config.get("layer_types")
    if isinstance(named, list):
        if len(named) != layers:
            raise ShapeError(f"layer_types: {len(named)} entries for {layers} layers")
        if other := sorted(set(map(str, named)) & _OTHER_LAYERS):
            raise ShapeError(f"layer_types: {other[0]} layers keep no KV cache per token: not planned yet")
        size = _number(config, "sliding_window") if set(named) & _NAMES_BY_WINDOW else None
        return tuple(size if name in _NAMES_BY_WINDOW else None for name in named)
    if window is None or config.get("use_sliding_window") is False or kind.startswith("qwen"):
        return (None,) * layers
    size = _number(config, "sliding_window")
    if kind == "gemma3_text":  # every sixth layer sees everything
        every = _number(config, "sliding_window_pattern", 6)
        return tuple(None if (layer + 1) % every == 0 else size for layer in range(layers))
    if kind in {"gemma2", "gpt_oss"}:
        return tuple(size if layer % 2 == 0 else None for layer in range(layers))
    return (size,) * layers


def _latent(config: Mapping[str, Any]) -> LatentAttention | None:
    if config.get("kv_lora_rank") is None:
        return None
    return LatentAttention(
        query_rank=_number(config, "q_lora_rank") if config.get("q_lora_rank") is not None else None,
        latent=_number(config, "kv_lora_rank"),
        plain_head=_number(config, "qk_nope_head_dim"),
        rotary_head=_number(config, "qk_rope_head_dim"),
        value_head=_number(config, "v_head_dim"),
    )


def _experts(config: Mapping[str, Any], kind: str) -> Experts | None:
    counts = [key for key in _COUNTS_EXPERTS if config.get(key) is not None]
    if not counts or (count := _number(config, counts[0], least=0)) <= 1:
        return None
    width = _number(config, "moe_intermediate_size", _number(config, "intermediate_size"))
    shared = _number(config, "n_shared_experts", 0, least=0) * width
    used = _number(config, "num_experts_per_tok")
    if used > count:
        raise ShapeError(f"num_experts_per_tok: {used} of {count} experts cannot be used")
    return Experts(
        total=count,
        used=used,
        width=width,
        shared_width=_number(config, "shared_expert_intermediate_size", shared, least=0),
        shared_gate=kind == "qwen2_moe",
        score_bias=kind in {"glm4_moe", "deepseek_v3"},
        biased=kind == "gpt_oss",
    )


def _expert_layers(config: Mapping[str, Any], layers: int) -> int:
    dense = _number(config, "first_k_dense_replace", 0, least=0)
    step = _number(config, "decoder_sparse_step", 1)
    only = config.get("mlp_only_layers") or []
    return sum(
        1 for layer in range(layers) if layer >= dense and (layer + 1) % step == 0 and layer not in only
    )


def _head_norms(config: Mapping[str, Any], kind: str, head_size: int) -> int:
    if kind in {"qwen3", "qwen3_moe", "gemma3_text"} or (kind == "glm4_moe" and config.get("use_qk_norm")):
        return 2 * head_size
    return 0

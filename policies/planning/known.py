"""Shapes of published models by name, as their publishers' `config.json` states them on the Hugging Face hub.

Only what parameters and KV cache follow from. Heads are those of the EAGLE-3 authors and of their users.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from policies.problems import choices_hint

_KEYS: Final = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "max_position_embeddings",
)
_TIED: Final = {"tie_word_embeddings": True}
_LLAMA3_WINDOW: Final = 131072
_QWEN_EXPERTS: Final = {"num_experts": 128, "num_experts_per_tok": 8}
_OSS: Final = {
    "num_experts_per_tok": 4,
    "sliding_window": 128,
    "quantization_config": {"quant_method": "mxfp4"},
}


def _config(kind: str, *numbers: int, **further: Any) -> Mapping[str, Any]:
    return {"model_type": kind, **dict(zip(_KEYS, numbers, strict=True)), **further}


KNOWN: Final[Mapping[str, Mapping[str, Any]]] = {
    "smollm2-135m-instruct": _config("llama", 49152, 576, 30, 9, 3, 64, 1536, 8192, **_TIED),
    "smollm2-360m-instruct": _config("llama", 49152, 960, 32, 15, 5, 64, 2560, 8192, **_TIED),
    "smollm2-1.7b-instruct": _config("llama", 49152, 2048, 24, 32, 32, 64, 8192, 8192, **_TIED),
    "llama-3.2-1b-instruct": _config("llama", 128256, 2048, 16, 32, 8, 64, 8192, _LLAMA3_WINDOW, **_TIED),
    "llama-3.2-3b-instruct": _config("llama", 128256, 3072, 28, 24, 8, 128, 8192, _LLAMA3_WINDOW, **_TIED),
    "llama-3.1-8b-instruct": _config("llama", 128256, 4096, 32, 32, 8, 128, 14336, _LLAMA3_WINDOW),
    "llama-3.1-70b-instruct": _config("llama", 128256, 8192, 80, 64, 8, 128, 28672, _LLAMA3_WINDOW),
    "llama-3.3-70b-instruct": _config("llama", 128256, 8192, 80, 64, 8, 128, 28672, _LLAMA3_WINDOW),
    "llama-3.1-8b-instruct-eagle3": _config(
        "llama",
        *(128256, 4096, 1, 32, 8, 128, 14336, 2048),
        draft_vocab_size=32000,
        architectures=["LlamaForCausalLMEagle3"],
    ),
    "mistral-7b-instruct-v0.3": _config("mistral", 32768, 4096, 32, 32, 8, 128, 14336, 32768),
    "mixtral-8x7b-instruct-v0.1": _config(
        "mixtral",
        *(32000, 4096, 32, 32, 8, 128, 14336, 32768),
        num_local_experts=8,
        num_experts_per_tok=2,
    ),
    "qwen2.5-0.5b-instruct": _config("qwen2", 151936, 896, 24, 14, 2, 64, 4864, 32768, **_TIED),
    "qwen2.5-1.5b-instruct": _config("qwen2", 151936, 1536, 28, 12, 2, 128, 8960, 32768, **_TIED),
    "qwen2.5-7b-instruct": _config("qwen2", 152064, 3584, 28, 28, 4, 128, 18944, 32768),
    "qwen2.5-14b-instruct": _config("qwen2", 152064, 5120, 48, 40, 8, 128, 13824, 32768),
    "qwen2.5-32b-instruct": _config("qwen2", 152064, 5120, 64, 40, 8, 128, 27648, 32768),
    "qwen2.5-72b-instruct": _config("qwen2", 152064, 8192, 80, 64, 8, 128, 29568, 32768),
    "qwen3-0.6b": _config("qwen3", 151936, 1024, 28, 16, 8, 128, 3072, 40960, **_TIED),
    "qwen3-1.7b": _config("qwen3", 151936, 2048, 28, 16, 8, 128, 6144, 40960, **_TIED),
    "qwen3-4b": _config("qwen3", 151936, 2560, 36, 32, 8, 128, 9728, 40960, **_TIED),
    "qwen3-8b": _config("qwen3", 151936, 4096, 36, 32, 8, 128, 12288, 40960),
    "qwen3-8b-dflash-b16": _config(
        "qwen3", *(151936, 4096, 5, 32, 8, 128, 12288, 40960), architectures=["DFlashDraftModel"]
    ),
    "qwen3-14b": _config("qwen3", 151936, 5120, 40, 40, 8, 128, 17408, 40960),
    "qwen3-32b": _config("qwen3", 151936, 5120, 64, 64, 8, 128, 25600, 40960),
    "qwen3-32b-eagle3": _config(
        "llama",
        *(151936, 5120, 1, 64, 8, 128, 25600, 40960),
        draft_vocab_size=32000,
        architectures=["LlamaForCausalLMEagle3"],
    ),
    "qwen3-30b-a3b": _config(
        "qwen3_moe", 151936, 2048, 48, 32, 4, 128, 6144, 40960, moe_intermediate_size=768, **_QWEN_EXPERTS
    ),
    "qwen3-235b-a22b": _config(
        "qwen3_moe", 151936, 4096, 94, 64, 4, 128, 12288, 40960, moe_intermediate_size=1536, **_QWEN_EXPERTS
    ),
    "gemma-3-27b-it": _config(
        "gemma3_text", 262208, 5376, 62, 32, 16, 128, 21504, 131072, sliding_window=1024, **_TIED
    ),
    "gpt-oss-20b": _config(
        "gpt_oss", 201088, 2880, 24, 64, 8, 64, 2880, 131072, num_local_experts=32, **_OSS
    ),
    "gpt-oss-120b": _config(
        "gpt_oss", 201088, 2880, 36, 64, 8, 64, 2880, 131072, num_local_experts=128, **_OSS
    ),
    "glm-4.5-air": _config(
        "glm4_moe",
        *(151552, 4096, 46, 96, 8, 128, 10944, 131072),
        attention_bias=True,
        moe_intermediate_size=1408,
        n_routed_experts=128,
        n_shared_experts=1,
        num_experts_per_tok=8,
        first_k_dense_replace=1,
        num_nextn_predict_layers=1,
    ),
    "deepseek-v3": _config(
        "deepseek_v3",
        *(129280, 7168, 61, 128, 128, 56, 18432, 163840),
        q_lora_rank=1536,
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        moe_intermediate_size=2048,
        n_routed_experts=256,
        n_shared_experts=1,
        num_experts_per_tok=8,
        first_k_dense_replace=3,
        num_nextn_predict_layers=1,
        quantization_config={"quant_method": "fp8"},
    ),
}
_SUFFIX: Final = "-instruct"


def known_config(name: str) -> tuple[str, Mapping[str, Any]] | None:
    """The name in the table and the configuration of a published model, None where it is not known.

    The publisher before a slash, capitals and a missing `-instruct` do not matter.
    """
    plain = name.rstrip("/").rsplit("/", 1)[-1].lower()
    candidates = (plain, plain + _SUFFIX, plain.replace("meta-llama", "llama"))
    found = next((candidate for candidate in candidates if candidate in KNOWN), None)
    return (found, KNOWN[found]) if found else None


def unknown_hint(name: str) -> str:
    """The closest known name, and all of them."""
    return choices_hint(name.rsplit("/", 1)[-1].lower(), list(KNOWN))

"""Parameters and KV cache of published models, from their shapes."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.planning import KNOWN, ShapeError, draft_of, known_config, precision_of, shape_of
from policies.planning.drafts import head_config, method_of
from policies.planning.kv_cache import request_bytes, token_bytes
from policies.planning.parameters import experts_touched, parameters
from policies.planning.precision import PrecisionError

pytestmark = pytest.mark.unit

SHAPES = Path(__file__).parents[2] / "shapes"
GIB = 2**30
PUBLISHED_B = {
    "smollm2-135m-instruct": 0.135,
    "llama-3.2-1b-instruct": 1.24,
    "llama-3.2-3b-instruct": 3.21,
    "llama-3.1-8b-instruct": 8.03,
    "llama-3.3-70b-instruct": 70.6,
    "mistral-7b-instruct-v0.3": 7.25,
    "mixtral-8x7b-instruct-v0.1": 46.7,
    "qwen2.5-0.5b-instruct": 0.494,
    "qwen2.5-7b-instruct": 7.62,
    "qwen2.5-72b-instruct": 72.7,
    "qwen3-0.6b": 0.6,
    "qwen3-8b": 8.19,
    "qwen3-32b": 32.8,
    "qwen3-30b-a3b": 30.5,
    "qwen3-235b-a22b": 235,
    "gpt-oss-20b": 20.9,
    "gpt-oss-120b": 116.8,
    "glm-4.5-air": 106.85,
    "deepseek-v3": 671,
}
"""Billions, as their publishers state them (Hugging Face, technical reports)."""


def shape(name: str) -> Any:
    return shape_of(KNOWN[name])


@pytest.mark.parametrize(("name", "billions"), PUBLISHED_B.items())
def test_parameters_are_what_publishers_state(name: str, billions: float) -> None:
    """Dense, grouped, tied, with experts, with latent attention: to the digits that are published."""
    assert parameters(shape(name)).total / 1e9 == pytest.approx(billions, rel=0.007)


@pytest.mark.parametrize("folder", sorted(path.name for path in SHAPES.iterdir() if path.is_dir()))
def test_known_shapes_are_those_of_the_tests(folder: str) -> None:
    """A model that is known by name and one that is read from its file have one shape."""
    config = json.loads((SHAPES / folder / "config.json").read_text("utf-8"))
    found = known_config(folder)
    assert found is not None
    assert shape_of(found[1]) == shape_of(config)
    assert method_of(found[1]) == method_of(config)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama-3.1-8b-instruct", 128 * 1024),  # 32 layers, 8 KV heads of 128, key and value, 2 bytes
        ("llama-3.3-70b-instruct", 320 * 1024),
        ("deepseek-v3", 61 * (512 + 64) * 2),
    ],
)
def test_kv_cache_of_a_token(name: str, expected: int) -> None:
    """Grouped-query attention keeps its KV heads, latent attention one vector."""
    assert token_bytes(shape(name), 2) == expected


def test_kv_cache_agrees_with_a_log_of_vllm() -> None:
    """Qwen3-235B-A22B-FP8 on four H100: 8.11 GiB held 178,880 tokens (vLLM's issue 21348)."""
    assert 8.11 * GIB / token_bytes(shape("qwen3-235b-a22b"), 2, 4) == pytest.approx(178_880, rel=0.02)


@pytest.mark.parametrize(("gpus", "part"), [(1, 1.0), (2, 0.5), (8, 0.125), (16, 0.125)])
def test_kv_heads_are_shared_out_until_each_gpu_has_one(gpus: int, part: float) -> None:
    """Beyond the number of KV heads, GPUs hold copies."""
    eight = shape("llama-3.1-8b-instruct")
    assert token_bytes(eight, 2, gpus) == part * token_bytes(eight, 2)


def test_latent_attention_is_kept_on_every_gpu() -> None:
    """There is one vector for all heads, so nothing to share out."""
    assert token_bytes(shape("deepseek-v3"), 2, 8) == token_bytes(shape("deepseek-v3"), 2)


def test_layers_with_a_window_keep_the_window() -> None:
    """gpt-oss: half of the layers look back 128 tokens."""
    model = shape("gpt-oss-20b")
    assert list(model.windows[:2]) == [128, None]
    long = request_bytes(model, 131_072, 2)
    assert long == pytest.approx(131_072 * token_bytes(model, 2) / 2, rel=0.002)


@given(st.sampled_from(sorted(KNOWN)), st.integers(1, 50_000), st.integers(1, 5_000), st.integers(1, 16))
def test_more_context_takes_more_kv_cache(name: str, tokens: int, more: int, gpus: int) -> None:
    """Never less, and on more GPUs never more on each."""
    model = shape_of(KNOWN[name])
    assert request_bytes(model, tokens, 2, gpus=gpus) <= request_bytes(model, tokens + more, 2, gpus=gpus)
    assert request_bytes(model, tokens, 2, gpus=gpus) <= request_bytes(model, tokens, 2)
    assert request_bytes(model, tokens, 1, gpus=gpus) * 2 == request_bytes(model, tokens, 2, gpus=gpus)


@given(st.floats(1, 5000), st.floats(0, 1000))
def test_more_tokens_touch_more_experts(tokens: float, more: float) -> None:
    """From those of one token up to all."""
    experts = shape("qwen3-30b-a3b").experts
    assert experts_touched(experts, 1) == pytest.approx(experts.used)
    assert experts_touched(experts, tokens) <= experts_touched(experts, tokens + more) <= experts.total


def test_heads_weigh_what_their_authors_publish() -> None:
    """EAGLE-3 for Llama 3.1 8B: 0.85 GB in half precision; Medusa's heads have an output matrix each."""
    target = shape("llama-3.1-8b-instruct")
    config = KNOWN["llama-3.1-8b-instruct-eagle3"]
    head = draft_of("eagle3", target, config)
    assert precision_of(config).of(head.counts) / 1e9 == pytest.approx(0.85, rel=0.01)
    assert not head.standalone
    medusa = draft_of("medusa", target, {"num_heads": 4, "num_hidden_layers": 1})
    assert medusa.counts.total == 4 * (128256 * 4096 + 4096**2)
    assert (medusa.one_pass, medusa.kv_shape) == (True, None)
    eagle = draft_of("eagle", target, dict(KNOWN["llama-3.1-8b-instruct"]) | {"num_hidden_layers": 1})
    assert eagle.counts.total / 1e9 == pytest.approx(0.25, rel=0.02)


def test_blocks_share_the_targets_embedding_and_output() -> None:
    """DFlash for Qwen3 8B: five layers and a matrix that joins five states; DSpark adds two of low rank."""
    target, block = shape("qwen3-8b"), KNOWN["qwen3-8b-dflash-b16"]
    dflash = draft_of("dflash", target, block)
    layers = (
        parameters(target).total - parameters(shape_of({**KNOWN["qwen3-8b"], "num_hidden_layers": 31})).total
    )
    assert dflash.counts.total == layers + 5 * 4096**2
    assert (dflash.one_pass, dflash.standalone, dflash.shared_output) == (True, False, 151936 * 4096)
    dspark = draft_of(
        "dspark", target, {**block, "markov_rank": 64, "dflash_config": {"target_layer_ids": [1, 9]}}
    )
    assert dspark.counts.total == layers + 2 * 4096**2 + 2 * 64 * 151936
    own = draft_of("dflash", target, {**block, "draft_vocab_size": 1000})
    assert (own.counts.output, own.shared_output) == (1000 * 4096, 0)
    with pytest.raises(ShapeError, match="markov_rank: expected whole numbers"):
        draft_of("dspark", target, {**block, "markov_rank": "64"})


def test_the_speculators_format_keeps_the_layer_apart() -> None:
    """It is the same head."""
    config = dict(KNOWN["llama-3.1-8b-instruct-eagle3"])
    del config["architectures"]
    size = config.pop("draft_vocab_size")
    apart = {"speculators_model_type": "eagle3", "draft_vocab_size": size, "transformer_layer_config": config}
    target = shape("llama-3.1-8b-instruct")
    assert method_of(apart) == "eagle3"
    heads = [
        draft_of("eagle3", target, one) for one in (head_config(apart), config | {"draft_vocab_size": size})
    ]
    assert heads[0] == heads[1]


def test_layers_for_drafting_belong_to_the_target() -> None:
    """GLM-4.5-Air: 110.5 B with its layer for drafting, less the embedding and output that it shares."""
    target = shape("glm-4.5-air")
    layer = draft_of("mtp", target, None)
    shared = 2 * 151552 * 4096
    assert (parameters(target).total + layer.counts.total + shared) / 1e9 == pytest.approx(110.5, rel=0.003)
    with pytest.raises(ShapeError, match="no MTP layers"):
        draft_of("mtp", shape("qwen3-32b"), None)


@pytest.mark.parametrize(
    ("config", "bits"),
    [
        ({"quant_method": "fp8"}, 8),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, 4 + 20 / 128),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, 4 + 20 / 64),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4.127),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "group_size": None}}},
            },
            8,
        ),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4.5),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 16, "type": "float"}}},
            },
            4.5,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 128, "type": "int"}}},
            },
            4 + 20 / 128,
        ),
    ],
)
def test_quantised_weights(config: dict[str, Any], bits: float) -> None:
    """Matrices of the layers by their bits with scales; embedding, output and norms as they are."""
    found = precision_of({"torch_dtype": "bfloat16", "quantization_config": config})
    assert found.bits == pytest.approx(bits)
    counts = parameters(shape("llama-3.1-8b-instruct"))
    rest = counts.embedding + counts.output + counts.small
    assert found.of(counts) == pytest.approx((counts.attention + counts.mlp) * bits / 8 + rest * 2)


def test_experts_alone_are_quantised_in_gpt_oss() -> None:
    """12.8 GiB; vLLM loads 13.7, with the padding of its kernels."""
    config = KNOWN["gpt-oss-20b"]
    assert precision_of(config).of(parameters(shape_of(config))) / GIB == pytest.approx(13.2, rel=0.05)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"dtype": "float8"}, "dtype: 'float8' is unknown; did you mean 'float"),
        ({"quantization": "fp9"}, "quantization: 'fp9' is unknown; did you mean 'fp8'"),
    ],
)
def test_unknown_precisions_name_the_known(given_: dict[str, Any], words: str) -> None:
    """In one line."""
    with pytest.raises(PrecisionError, match=words):
        precision_of({}, **given_)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": None}, "hidden_size: missing"),
        ({"hidden_size": "wide"}, "hidden_size: expected a whole number from 1 to 100000000, not 'wide'"),
        ({"num_hidden_layers": -1}, "num_hidden_layers: expected"),
        ({"num_hidden_layers": 10**8}, "num_hidden_layers: expected"),
        ({"num_key_value_heads": 5}, "num_key_value_heads: 5 does not divide"),
        ({"head_dim": None, "hidden_size": 577}, "hidden_size: 577 cannot be shared by 9 heads"),
        ({"layer_types": ["mamba"] * 30}, "layer_types: mamba layers keep no KV cache per token"),
        ({"layer_types": ["full_attention"]}, "layer_types: 1 entries for 30 layers"),
        ({"num_experts": 4, "num_experts_per_tok": 5}, "num_experts_per_tok: 5 of 4"),
    ],
)
def test_impossible_shapes_name_the_key(change: dict[str, Any], words: str) -> None:
    """In one line."""
    with pytest.raises(ShapeError, match=words):
        shape_of(dict(KNOWN["smollm2-135m-instruct"]) | change)


def test_a_decoder_that_reads_more_than_text_is_described_below() -> None:
    """Its numbers stand in `text_config`."""
    assert shape_of({"model_type": "llava", "text_config": KNOWN["qwen3-8b"]}) == shape("qwen3-8b")

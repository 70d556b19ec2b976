"""A tiny model and drafters for it, made in seconds: of each method a small one that engines really load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from drafters import distilling, learning, recording
from drafters.distilling import Settings, distil
from drafters.learning import LearnSettings
from drafters.recording import AskSettings
from drafters.training import SizeSettings
from tests.unit.drafters.tiny_target import CONFIG, SPECIAL, write_target

K: Final = 5
HEADS: Final = 3
WIDE: Final = CONFIG | {
    "hidden_size": 64,
    "head_dim": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
}
"""Engines compute attention in heads of 32 and more."""
_SETTINGS: Final = Settings(
    ask=AskSettings(tokens=2000, prompt_tokens=64, answer_tokens=32, slots=16),
    size=SizeSettings(draft_vocabulary=200, intermediate=64),
    learn=LearnSettings(
        epochs=40, batch_tokens=400, rate=1e-2, head_rate=1e-2, warmup=5, weight_decay=0, measure_steps=1000
    ),
)


def write_model(folder: Path) -> Path:
    """The target."""
    return write_target(folder, config=WIDE)


def distilled(folder: Path, model: Path) -> Path:
    """An EAGLE-3 head that `specroute draft train` made in `folder`; returns the run's folder.

    In float32 on every machine: what it is measured to accept is then what engines of float32 accept.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distilling, "_PER_TEMPLATE", 1)
        for module in (recording, learning):
            patch.setattr(module, "quick_dtype", lambda: torch.float32)
        distil(folder, model, _SETTINGS, say=print)
    return folder


def write_medusa(folder: Path, model: Path) -> Path:
    """Heads that all foresee what the target itself says next: right wherever it repeats a token."""
    hidden, vocabulary = WIDE["hidden_size"], WIDE["vocab_size"]
    scores = load_file(model / "model.safetensors")["model.embed_tokens.weight"]
    tensors: dict[str, Tensor] = {}
    for head in range(HEADS):
        tensors[f"blocks.{head}.layers.0.weight"] = torch.zeros(hidden, hidden)
        tensors[f"lm_heads.{head}.weight"] = scores.clone()
    config = {
        "architectures": ["MedusaModel"],
        "model_type": "medusa",
        "hidden_size": hidden,
        "vocab_size": vocabulary,
        "num_heads": HEADS,
        "num_hidden_layers": 1,
        "medusa_fc_bias": False,
    }
    return _write(folder, config, tensors)


def write_eagle(folder: Path, model: Path) -> Path:
    """An EAGLE-1 head that hands on the state it is given, so that it foresees the token just said."""
    hidden = WIDE["hidden_size"]
    tensors = {
        "embed_tokens.weight": load_file(model / "model.safetensors")["model.embed_tokens.weight"],
        "fc.weight": torch.cat([torch.zeros(hidden, hidden), torch.eye(hidden)], dim=1),
        **{f"layers.0.{name}": tensor for name, tensor in _idle_layer().items()},
    }
    del tensors["layers.0.input_layernorm.weight"]
    config = WIDE | {"architectures": ["EagleLlamaForCausalLM"], "num_hidden_layers": 1}
    return _write(folder, config, tensors)


def write_mtp(folder: Path, model: Path) -> Path:
    """The target as a MiMo, a Qwen2 with an MTP layer, which hands on the state it is given, too."""
    shutil.copytree(model, folder)
    hidden = WIDE["hidden_size"]
    tensors = load_file(model / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    for number in range(WIDE["num_hidden_layers"]):
        tensors |= {f"model.layers.{number}.self_attn.{name}": bias for name, bias in _no_biases().items()}
    layer = _idle_layer() | {f"self_attn.{name}": bias for name, bias in _no_biases().items()}
    layer |= {
        "input_proj.weight": torch.cat([torch.eye(hidden), torch.zeros(hidden, hidden)], dim=1),
        **{f"{name}_layernorm.weight": torch.ones(hidden) for name in ("token", "hidden", "final")},
    }
    tensors |= {f"model.mtp_layers.0.{name}": tensor for name, tensor in layer.items()}
    config = WIDE | {
        "architectures": ["MiMoForCausalLM"],
        "model_type": "qwen2",
        "tie_word_embeddings": False,
        "num_nextn_predict_layers": 1,
    }
    return _write(folder, config, tensors)


def write_parallel(folder: Path, model: Path) -> Path:
    """The target as a drafter that proposes all tokens in one pass: the first one right, the others at random."""
    shutil.copytree(model, folder)
    config = WIDE | {"pard_token": SPECIAL.index("<user>")}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _idle_layer() -> dict[str, Tensor]:
    """A decoder layer that adds nothing to its input."""
    hidden, wide, queries, keys = _sizes()
    return {
        "input_layernorm.weight": torch.ones(hidden),
        "post_attention_layernorm.weight": torch.ones(hidden),
        "self_attn.q_proj.weight": torch.zeros(queries, hidden),
        "self_attn.k_proj.weight": torch.zeros(keys, hidden),
        "self_attn.v_proj.weight": torch.zeros(keys, hidden),
        "self_attn.o_proj.weight": torch.zeros(hidden, queries),
        "mlp.gate_proj.weight": torch.zeros(wide, hidden),
        "mlp.up_proj.weight": torch.zeros(wide, hidden),
        "mlp.down_proj.weight": torch.zeros(hidden, wide),
    }


def _no_biases() -> dict[str, Tensor]:
    _, _, queries, keys = _sizes()
    sizes = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
    return {f"{name}.bias": torch.zeros(size) for name, size in sizes.items()}


def _sizes() -> tuple[int, int, int, int]:
    """Of the hidden states, between the projections of an MLP, of all queries, of all keys."""
    heads, keys = WIDE["num_attention_heads"], WIDE["num_key_value_heads"]
    return WIDE["hidden_size"], WIDE["intermediate_size"], heads * WIDE["head_dim"], keys * WIDE["head_dim"]


def write_twin(folder: Path, model: Path) -> Path:
    """The target under another tokenizer: the same texts, their ids the other way round.

    As a drafter it foresees all the target says, if each id is translated there and back.
    """
    shutil.copytree(model, folder)
    tensors = load_file(model / "model.safetensors")
    rows = tensors["model.embed_tokens.weight"]
    document = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocabulary: dict[str, int] = document["model"]["vocab"]
    moved = {token: len(vocabulary) - 1 - ident for token, ident in vocabulary.items()}
    turned = rows.clone()
    turned[: len(vocabulary)] = rows[: len(vocabulary)].flip(0)
    document["model"]["vocab"] = dict(sorted(moved.items(), key=lambda item: item[1]))
    for added in document["added_tokens"]:
        added["id"] = moved[added["content"]]
    document["added_tokens"].sort(key=lambda added: added["id"])
    (folder / "tokenizer.json").write_text(json.dumps(document), "utf-8")
    end = moved[SPECIAL[0]]
    config = WIDE | {"bos_token_id": end, "eos_token_id": end}
    return _write(folder, config, tensors | {"model.embed_tokens.weight": turned})


def _write(folder: Path, config: Mapping[str, Any], tensors: dict[str, Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder

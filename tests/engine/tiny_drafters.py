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

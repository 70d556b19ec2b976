"""A head as a folder that engines load: config.json, half-precision weights, and where both come from."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from drafters.errors import DraftError
from drafters.head import AUX_STATES, Head, HeadShape
from drafters.shape import Shape

WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"


def config(shape: HeadShape) -> dict[str, Any]:
    """What vLLM's `Eagle3LlamaForCausalLM` is built from."""
    target = shape.target
    return {
        "architectures": ["LlamaForCausalLMEagle3"],
        "model_type": "llama",
        "hidden_size": target.hidden,
        "target_hidden_size": target.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": 1,
        "num_attention_heads": target.heads,
        "num_key_value_heads": target.key_value_heads,
        "head_dim": target.head_width,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": target.norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": target.rotary_base},
        "max_position_embeddings": target.positions,
        "vocab_size": target.vocabulary,
        "draft_vocab_size": shape.draft_vocabulary,
        "tie_word_embeddings": False,
        "norm_before_residual": True,
        "fc_norm": True,
        "num_aux_hidden_states": AUX_STATES,
        "eagle_aux_hidden_state_layer_ids": list(target.aux_layers),
        "dtype": "float16",
    }


def tensors(head: Head, draft_tokens: Tensor) -> dict[str, Tensor]:
    """The head's weights by the names that vLLM reads; `d2t` is target id less draft id. No embeddings."""
    shape = head.shape.target
    queries, keys = shape.heads * shape.head_width, shape.key_value_heads * shape.head_width
    query, key, value = head.query_key_value.split([queries, keys, keys])
    gate, up = head.gate_up.chunk(2)
    found = {
        "fc.weight": head.fc,
        "midlayer.input_layernorm.weight": head.embedding_norm,
        "midlayer.hidden_norm.weight": head.hidden_norm,
        "midlayer.post_attention_layernorm.weight": head.feed_norm,
        "midlayer.self_attn.q_proj.weight": query,
        "midlayer.self_attn.k_proj.weight": key,
        "midlayer.self_attn.v_proj.weight": value,
        "midlayer.self_attn.o_proj.weight": head.output,
        "midlayer.mlp.gate_proj.weight": gate,
        "midlayer.mlp.up_proj.weight": up,
        "midlayer.mlp.down_proj.weight": head.down,
        "norm.weight": head.norm,
        "lm_head.weight": head.lm_head,
    }
    found |= {f"fc_norm.{number}.weight": norm for number, norm in enumerate(head.aux_norms)}
    halves = {name: tensor.detach().half().contiguous() for name, tensor in found.items()}
    return halves | {"d2t": draft_tokens - torch.arange(len(draft_tokens))}


def export(folder: Path, head: Head, draft_tokens: Tensor, *, report: Mapping[str, Any], notes: str) -> Path:
    """Writes the drafter's folder in place of an older one, visible only when whole.

    Args:
        folder: Where to.
        head: The trained head.
        draft_tokens: Target ids of the draft vocabulary [draft vocabulary], rising.
        report: What it was trained on and what it was measured to accept: becomes report.json.
        notes: README.md.

    Raises:
        DraftError: The disk is full, the folder cannot be written, or half precision cannot hold a weight.
    """
    halves = tensors(head, draft_tokens)
    if broken := [name for name, tensor in halves.items() if not bool(torch.isfinite(tensor).all())]:
        raise DraftError(f"{broken[0]}: not finite in half precision: train with a lower rate")
    partial = folder.with_name(f".{folder.name}.partial")
    old = folder.with_name(f".{folder.name}.old")
    try:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(halves, partial / WEIGHTS, metadata={"format": "pt"})
        (partial / WEIGHTS).chmod(0o644)  # safetensors writes 0600
        _write(partial / CONFIG, json.dumps(config(head.shape), indent=2))
        _write(partial / "report.json", json.dumps(report, indent=2))
        _write(partial / "README.md", notes)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space" in str(error)
        raise DraftError(
            f"{folder}: cannot be written ({error}): {'free some space' if full else 'make it writable'}"
        ) from error
    return folder


def load_drafter(folder: Path, target: Shape) -> tuple[Head, Tensor]:
    """A head and its draft vocabulary, from a folder that `export` wrote.

    Raises:
        DraftError: The folder is not a drafter of ours, is damaged, or was made for another target.
    """
    try:
        document = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        found = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise DraftError(
            f"{folder}: not a whole drafter ({error}): train it again, or name another folder"
        ) from error
    shape = HeadShape(target, document.get("intermediate_size", 0), document.get("draft_vocab_size", 0))
    wanted = config(shape)
    if different := [name for name in wanted if document.get(name) != wanted[name]]:
        name = different[0]
        raise DraftError(
            f"{folder / CONFIG}: {name} is {document.get(name)}, this target needs {wanted[name]}: "
            "it was made for another model"
        )
    head = Head(shape)
    expected = tensors(head, torch.arange(shape.draft_vocabulary))
    for name, tensor in expected.items():
        if name not in found or found[name].shape != tensor.shape:
            have = tuple(found[name].shape) if name in found else "missing"
            raise DraftError(f"{folder / WEIGHTS}: {name} is {have}, config.json says {tuple(tensor.shape)}")
    draft_tokens = found["d2t"] + torch.arange(shape.draft_vocabulary)
    if int(draft_tokens.min()) < 0 or int(draft_tokens.max()) >= target.vocabulary:
        raise DraftError(f"{folder / WEIGHTS}: d2t points outside the target's {target.vocabulary} tokens")
    _fill(head, found)
    return head, draft_tokens


def _fill(head: Head, found: Mapping[str, Tensor]) -> None:
    attention = "midlayer.self_attn.{}_proj.weight"
    into = {
        head.query_key_value: torch.cat([found[attention.format(name)] for name in ("q", "k", "v")]),
        head.output: found[attention.format("o")],
        head.gate_up: torch.cat([found[f"midlayer.mlp.{name}_proj.weight"] for name in ("gate", "up")]),
        head.down: found["midlayer.mlp.down_proj.weight"],
        head.aux_norms: torch.stack([found[f"fc_norm.{number}.weight"] for number in range(AUX_STATES)]),
        head.fc: found["fc.weight"],
        head.norm: found["norm.weight"],
        head.lm_head: found["lm_head.weight"],
        head.embedding_norm: found["midlayer.input_layernorm.weight"],
        head.hidden_norm: found["midlayer.hidden_norm.weight"],
        head.feed_norm: found["midlayer.post_attention_layernorm.weight"],
    }
    with torch.no_grad():
        for parameter, weights in into.items():
            parameter.copy_(weights)


def _write(file: Path, text: str) -> None:
    file.write_text(f"{text.rstrip()}\n", encoding="utf-8")

"""A Llama of a few thousand random weights with a byte tokenizer, for tests of a second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from drafters.answering import Answer, Request
from drafters.recording import Recorded
from drafters.shape import Shape
from drafters.shards import Shard, read_shards, write_shard
from drafters.target import Target

SPECIAL = ("<end>", "<user>", "<assistant>")
END = 0
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 9,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 260,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": END,
    "eos_token_id": END,
}
TEMPLATE = "{% for turn in messages %}<user>{{ turn['content'] }}{% endfor %}<assistant>"


def weights(seed: int = 0, config: Mapping[str, Any] = CONFIG) -> dict[str, Tensor]:
    """Random weights of the config's sizes."""
    chance = torch.Generator().manual_seed(seed)
    hidden, wide, vocabulary = (config[name] for name in ("hidden_size", "intermediate_size", "vocab_size"))
    queries, keys = (config[f"num_{name}_heads"] * config["head_dim"] for name in ("attention", "key_value"))

    def drawn(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=chance) * 0.2

    found = {"model.embed_tokens.weight": drawn(vocabulary, hidden), "model.norm.weight": 1 + drawn(hidden)}
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        found |= {
            f"{layer}.input_layernorm.weight": 1 + drawn(hidden),
            f"{layer}.post_attention_layernorm.weight": 1 + drawn(hidden),
            f"{layer}.self_attn.q_proj.weight": drawn(queries, hidden),
            f"{layer}.self_attn.k_proj.weight": drawn(keys, hidden),
            f"{layer}.self_attn.v_proj.weight": drawn(keys, hidden),
            f"{layer}.self_attn.o_proj.weight": drawn(hidden, queries),
            f"{layer}.mlp.gate_proj.weight": drawn(wide, hidden),
            f"{layer}.mlp.up_proj.weight": drawn(wide, hidden),
            f"{layer}.mlp.down_proj.weight": drawn(hidden, wide),
        }
    return found


def write_target(folder: Path, *, seed: int = 0, config: Mapping[str, Any] = CONFIG) -> Path:
    """The tiny model, or one of another config, as a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(weights(seed, config), folder / "model.safetensors", metadata={"format": "pt"})
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIAL[END],
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def tiny_shape() -> Shape:
    """The tiny model's sizes."""
    return Shape(32, 48, 9, 4, 2, 8, 260, 1e-5, 1000.0, 512)


def tiny_target(seed: int = 0) -> Target:
    """The tiny model."""
    return Target(tiny_shape(), weights(seed))


def request(number: int, *, tokens: tuple[int, ...] = (1, 40, 41, 2), held_out: bool = False) -> Request:
    """A greedy request by number."""
    return Request(f"r{number}@0", "qa", tokens, 0.0, held_out)


def answer(number: int, *, answered: int = 9, held_out: bool = False, seed: int = 0) -> Answer:
    """A made-up recording: random tokens and states."""
    asked = request(number, tokens=(1, 40 + number % 7, 2), held_out=held_out)
    chance = torch.Generator().manual_seed(1000 * seed + number)
    length = len(asked.tokens) + answered
    drawn = torch.randint(3, 260, (answered,), generator=chance)
    tokens = torch.cat((torch.tensor(asked.tokens), drawn)).int()
    aux = torch.randn((length, 3, 32), generator=chance).half()
    return Answer(asked, tokens, aux, torch.randn((length, 32), generator=chance).half())


def record_answers(folder: Path, answers: list[Answer], *, source: str = "here") -> Recorded:
    """Those answers as one shard, and all that the folder holds."""
    folder.mkdir(parents=True, exist_ok=True)
    write_shard(folder, answers, torch.rand(260, generator=torch.Generator().manual_seed(1)), source=source)
    return Recorded(tuple(shard for shard in read_shards(folder) if isinstance(shard, Shard)))

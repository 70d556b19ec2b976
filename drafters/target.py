"""The target in plain torch: a Llama that shows its hidden states while it answers.

Engines keep hidden states to themselves; a drafter is trained on them. This forward pass keeps them as it
decodes, so that recording costs no second pass. Its numbers are those of vLLM's `LlamaModel`: RMS norms in
float32, rotary positions over half-split heads, SiLU-gated feed-forward layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu

from drafters.errors import DraftError
from drafters.shape import Shape, read_shape

WEIGHTS: Final = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's weights; projections that read the same input are joined."""

    attention_norm: Tensor
    query_key_value: Tensor
    output: Tensor
    feed_norm: Tensor
    gate_up: Tensor
    down: Tensor


class Rotary:
    """Rotations of queries and keys by their position (half-split, as in Llama)."""

    def __init__(self, head_width: int, base: float, positions: int) -> None:
        frequencies = base ** (-torch.arange(0, head_width, 2, dtype=torch.float32) / head_width)
        angles = torch.arange(positions, dtype=torch.float32)[:, None] * frequencies
        self._cosine, self._sine = angles.cos(), angles.sin()

    def __call__(self, states: Tensor, positions: Tensor) -> Tensor:
        """Turns `states` [..., heads, tokens, width] by `positions` [..., tokens]."""
        cosine, sine = self._cosine[positions].unsqueeze(-3), self._sine[positions].unsqueeze(-3)
        first, second = states.chunk(2, dim=-1)
        turned = torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)
        return turned.to(states.dtype)


class Cache:
    """Keys and values of `slots` sequences of up to `length` tokens."""

    def __init__(self, shape: Shape, *, slots: int, length: int, dtype: torch.dtype) -> None:
        sizes = (shape.layers, slots, shape.key_value_heads, length, shape.head_width)
        self.keys, self.values = torch.zeros(sizes, dtype=dtype), torch.zeros(sizes, dtype=dtype)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pass shows of some tokens: `aux` [tokens, 3, hidden], `final` [tokens, hidden] once normed."""

    aux: Tensor
    final: Tensor


def quick_dtype() -> torch.dtype:
    """What this processor multiplies fastest: bfloat16 where it has instructions for it, else float32.

    With AVX-512 BF16, matrix products take a quarter of float32's time (measured: docs/drafters.md), and are
    exact enough for a drafter to learn from: the states it sees are kept in half precision anyway.
    """
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32  # noqa: SLF001


class Target:
    """A Llama, for inference only.

    Its weights, states and caches are of type `dtype`; norms are computed in float32, and scores are float32.
    """

    def __init__(
        self, shape: Shape, weights: dict[str, Tensor], *, dtype: torch.dtype = torch.float32
    ) -> None:
        """Takes Hugging Face's tensor names.

        Raises:
            DraftError: A tensor is missing or has another shape than config.json says.
        """
        self.shape = shape
        self.dtype = dtype
        take = _Taker(weights, dtype)
        self.embedding = take("model.embed_tokens.weight", (shape.vocabulary, shape.hidden))
        self.norm = take("model.norm.weight", (shape.hidden,))
        head = "lm_head.weight"
        tied = head not in weights
        self.head = self.embedding if tied else take(head, tuple(self.embedding.shape))
        self.layers = [_layer(take, f"model.layers.{number}", shape) for number in range(shape.layers)]
        self._rotary = Rotary(shape.head_width, shape.rotary_base, shape.positions)

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype = torch.float32) -> Target:
        """The model in a Hugging Face folder with one weights file.

        Raises:
            DraftError: The folder has no readable config or weights, or they do not fit one another.
        """
        shape = read_shape(folder)
        file = folder / WEIGHTS
        try:
            weights = load_file(file)
        except (OSError, SafetensorError) as error:
            raise DraftError(f"{file}: not readable ({error}): prepare the model again") from error
        return cls(shape, weights, dtype=dtype)

    def cache(self, *, slots: int, length: int) -> Cache:
        """An empty cache for `slots` sequences of up to `length` tokens."""
        return Cache(self.shape, slots=slots, length=length, dtype=self.dtype)

    def prompt(self, tokens: Tensor, cache: Cache, slot: int) -> Seen:
        """Reads a whole prompt [tokens] into one slot of the cache."""
        count = len(tokens)
        positions = torch.arange(count)[None]

        def attend(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.keys[number, slot, :, :count], cache.values[number, slot, :, :count] = key[0], value[0]
            return scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)

        return self._forward(tokens[None], positions, attend)

    def step(self, tokens: Tensor, positions: Tensor, cache: Cache) -> Seen:
        """Reads one token of every slot, `tokens` and `positions` [slots], and adds them to the cache.

        Heads that share keys are taken as several queries of one head, so that keys are read once.
        """
        slots, shape = len(tokens), self.shape
        length = int(positions.max()) + 1
        visible = (torch.arange(length) <= positions[:, None])[:, None, None]
        here = torch.arange(slots)
        shared = (slots, shape.key_value_heads, -1, shape.head_width)

        def attend(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.keys[number, here, :, positions] = key[:, :, 0]
            cache.values[number, here, :, positions] = value[:, :, 0]
            keys, values = cache.keys[number, :, :, :length], cache.values[number, :, :, :length]
            found = scaled_dot_product_attention(query.reshape(shared), keys, values, attn_mask=visible)
            return found.reshape(query.shape)

        return self._forward(tokens[:, None], positions[:, None], attend)

    def logits(self, final: Tensor) -> Tensor:
        """Scores of every token of the vocabulary in float32, from `final` [tokens, hidden]."""
        with torch.inference_mode():
            return linear(final, self.head).float()

    def _forward(self, tokens: Tensor, positions: Tensor, attend: Any) -> Seen:
        """Runs `tokens` [sequences, tokens]; `attend` keeps keys and values and does the attention."""
        with torch.inference_mode():
            return self._pass(tokens, positions, attend)

    def _pass(self, tokens: Tensor, positions: Tensor, attend: Any) -> Seen:
        shape = self.shape
        states = self.embedding[tokens]
        aux = []
        for number, layer in enumerate(self.layers):
            if number in shape.aux_layers:
                aux.append(states)
            joined = linear(self._normed(states, layer.attention_norm), layer.query_key_value)
            query, key, value = split_heads(joined, shape.heads, shape.key_value_heads, shape.head_width)
            found = attend(number, self._rotary(query, positions), self._rotary(key, positions), value)
            states = states + linear(found.transpose(1, 2).flatten(2), layer.output)
            gate, up = linear(self._normed(states, layer.feed_norm), layer.gate_up).chunk(2, dim=-1)
            states = states + linear(silu(gate) * up, layer.down)
        return Seen(
            aux=torch.stack(aux, dim=2).flatten(0, 1), final=self._normed(states, self.norm).flatten(0, 1)
        )

    def _normed(self, states: Tensor, weight: Tensor) -> Tensor:
        return rms_norm(states, weight.shape, weight, self.shape.norm_epsilon)


def split_heads(
    joined: Tensor, heads: int, key_value_heads: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [sequences, heads, tokens, width] out of one joined projection."""
    parts = joined.unflatten(-1, (-1, width)).transpose(1, 2)
    query, key, value = parts.split([heads, key_value_heads, key_value_heads], dim=1)
    return query, key, value


class _Taker:
    """Tensors by name, of one type, with their shapes checked."""

    def __init__(self, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
        self._weights, self._dtype = weights, dtype

    def __call__(self, name: str, sizes: tuple[int, ...]) -> Tensor:
        found = self._weights.get(name)
        if found is None:
            raise DraftError(f"the target's weights lack {name}: prepare the model again")
        if tuple(found.shape) != sizes:
            raise DraftError(
                f"the target's {name} is {tuple(found.shape)}, its config.json says {sizes}: "
                "prepare the model again"
            )
        return found.to(self._dtype)


def _layer(take: _Taker, prefix: str, shape: Shape) -> Layer:
    queries, keys = shape.heads * shape.head_width, shape.key_value_heads * shape.head_width
    wide = (shape.intermediate, shape.hidden)
    attention = [
        take(f"{prefix}.self_attn.{name}_proj.weight", (rows, shape.hidden))
        for name, rows in (("q", queries), ("k", keys), ("v", keys))
    ]
    return Layer(
        attention_norm=take(f"{prefix}.input_layernorm.weight", (shape.hidden,)),
        query_key_value=torch.cat(attention),
        output=take(f"{prefix}.self_attn.o_proj.weight", (shape.hidden, queries)),
        feed_norm=take(f"{prefix}.post_attention_layernorm.weight", (shape.hidden,)),
        gate_up=torch.cat([take(f"{prefix}.mlp.{name}_proj.weight", wide) for name in ("gate", "up")]),
        down=take(f"{prefix}.mlp.down_proj.weight", (shape.hidden, shape.intermediate)),
    )

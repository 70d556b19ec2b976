"""The KV cache: bytes per token and per request, on each GPU of an engine."""

from __future__ import annotations

import math
from typing import Final

from policies.planning.shapes import Shape

GPU_BLOCK_TOKENS: Final = 16
CPU_BLOCK_TOKENS: Final = 128
"""vLLM 0.32 keeps KV in blocks of so many tokens."""


def layer_bytes(shape: Shape, value_bytes: int, gpus: int = 1) -> int:
    """Bytes of one token in one layer, on each of `gpus` GPUs.

    Grouped-query attention keeps a key and a value per KV head, shared out over the GPUs; a GPU has at least
    one head, so beyond the number of heads nothing is saved. Latent attention keeps one vector for all heads,
    on every GPU.
    """
    if shape.latent is not None:
        return (shape.latent.latent + shape.latent.rotary_head) * value_bytes
    return 2 * math.ceil(shape.kv_heads / gpus) * shape.head_size * value_bytes


def token_bytes(shape: Shape, value_bytes: int, gpus: int = 1) -> int:
    """Bytes that a further token of a short text takes on each GPU."""
    return shape.layers * layer_bytes(shape, value_bytes, gpus)


def request_bytes(
    shape: Shape, tokens: int, value_bytes: int, *, gpus: int = 1, block: int = GPU_BLOCK_TOKENS
) -> int:
    """Bytes of one request of `tokens` tokens on each GPU, in whole blocks.

    Layers with a sliding window keep the window and the block it begins in.
    """
    each = layer_bytes(shape, value_bytes, gpus)
    kept = (tokens if window is None else min(tokens, window + block) for window in shape.windows)
    return sum(math.ceil(count / block) * block * each for count in kept)

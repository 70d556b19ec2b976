"""An EAGLE-3 head: one decoder layer that reads the target's hidden states and the token said last.

Its arithmetic is that of vLLM's `Eagle3LlamaForCausalLM` with `fc_norm`: three hidden states are normed each
on its own and mixed by `fc`; the layer's attention reads the embedding of the next token beside the mix; what
the layer leaves in its residual stream stands for the target's states when the head drafts on
(Li et al., "EAGLE-3", 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, silu

from drafters.shape import Shape
from drafters.target import Rotary, Target, split_heads

AUX_STATES: Final = 3
_SPREAD: Final = 0.02


@dataclass(frozen=True, slots=True)
class HeadShape:
    """The sizes of a head. Its width, heads and rotary positions are the target's."""

    target: Shape
    intermediate: int
    draft_vocabulary: int

    @property
    def parameters(self) -> int:
        """How many numbers a checkpoint holds."""
        hidden = self.target.hidden
        queries = self.target.heads * self.target.head_width
        keys = self.target.key_value_heads * self.target.head_width
        attention = 2 * hidden * (queries + 2 * keys) + queries * hidden
        norms = (AUX_STATES + 4) * hidden
        feed = 3 * hidden * self.intermediate
        return AUX_STATES * hidden**2 + attention + feed + norms + self.draft_vocabulary * hidden


class Head(nn.Module):  # type: ignore[misc]  # torch is not followed
    """The head's weights and its two passes: `mix` the target's states, `layer` one drafting step."""

    def __init__(self, shape: HeadShape, *, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        target = shape.target
        hidden = target.hidden
        queries, keys = target.heads * target.head_width, target.key_value_heads * target.head_width
        chance = torch.Generator().manual_seed(seed)

        def weights(*sizes: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(sizes, generator=chance) * _SPREAD)

        def ones(*sizes: int) -> nn.Parameter:
            return nn.Parameter(torch.ones(sizes))

        self.aux_norms = ones(AUX_STATES, hidden)
        self.fc = weights(hidden, AUX_STATES * hidden)
        self.embedding_norm, self.hidden_norm, self.feed_norm, self.norm = (ones(hidden) for _ in range(4))
        self.query_key_value = weights(queries + 2 * keys, 2 * hidden)
        self.output = weights(hidden, queries)
        self.gate_up = weights(2 * shape.intermediate, hidden)
        self.down = weights(hidden, shape.intermediate)
        self.lm_head = weights(shape.draft_vocabulary, hidden)
        self.rotary = Rotary(target.head_width, target.rotary_base, target.positions)

    def begin_from(self, target: Target, draft_tokens: Tensor) -> None:
        """Takes over from the target what it has alike: the last norm and the draft vocabulary's scores."""
        with torch.no_grad():
            self.lm_head.copy_(target.head[draft_tokens])
            self.norm.copy_(target.norm)

    def mix(self, aux: Tensor) -> Tensor:
        """The head's reading of the target: [..., 3, hidden] to [..., hidden]."""
        normed = rms_norm(aux, aux.shape[-1:], None, self.shape.target.norm_epsilon) * self.aux_norms
        return linear(normed.flatten(-2), self.fc)

    def inputs(self, embedded: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What attention reads, and the residual stream it adds to (`norm_before_residual`)."""
        residual = self._normed(hidden, self.hidden_norm)
        return torch.cat((self._normed(embedded, self.embedding_norm), residual), dim=-1), residual

    def query_key_values(self, read: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values: [sequences, heads, tokens, width]."""
        target = self.shape.target
        joined = linear(read, self.query_key_value)
        query, key, value = split_heads(joined, target.heads, target.key_value_heads, target.head_width)
        return self.rotary(query, positions), self.rotary(key, positions), value

    def finish(self, residual: Tensor, attended: Tensor) -> Tensor:
        """The residual stream after attention [sequences, heads, tokens, width] and feed-forward."""
        states = residual + linear(attended.transpose(1, 2).flatten(2), self.output)
        gate, up = linear(self._normed(states, self.feed_norm), self.gate_up).chunk(2, dim=-1)
        return states + linear(silu(gate) * up, self.down)

    def logits(self, states: Tensor) -> Tensor:
        """Scores of the draft vocabulary."""
        return linear(self._normed(states, self.norm), self.lm_head)

    def _normed(self, states: Tensor, weight: Tensor) -> Tensor:
        return rms_norm(states.float(), weight.shape, weight, self.shape.target.norm_epsilon)

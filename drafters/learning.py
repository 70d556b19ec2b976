"""What a head learns from one batch, and the optimiser's steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from drafters.head import Head
from drafters.target import quick_dtype
from drafters.unrolling import Batch, shifted, unroll


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """How the head is trained.

    Attributes:
        epochs: Most times every answer is seen; the learning rate falls to its end over them.
        batch_tokens: Answer tokens a step of the optimiser.
        rate: The greatest learning rate.
        head_rate: The same for the draft vocabulary's scores, which begin as the target's.
        warmup: Optimiser steps until the rate is reached.
        weight_decay: Of AdamW, on matrices.
        steps: Draft positions that are unrolled and learned.
        step_decay: How much less each further position counts.
        measure_steps: Optimiser steps between measurements on held-out answers.
        checkpoint_steps: Optimiser steps between checkpoints.
        patience: Measurements without a better acceptance length before training ends.
        seed: Of the weights and the order.
    """

    epochs: int = 5
    batch_tokens: int = 768
    rate: float = 1e-3
    head_rate: float = 3e-4
    warmup: int = 60
    weight_decay: float = 0.05
    steps: int = 3
    step_decay: float = 0.8
    measure_steps: int = 400
    checkpoint_steps: int = 40
    patience: int = 5
    seed: int = 0


def loss(head: Head, embedding: Tensor, scores: Tensor, batch: Batch, settings: LearnSettings) -> Tensor:
    """Cross-entropy of the head's drafts with the target's chances of the draft vocabulary, per draft token.

    Mean over the drafts of each position, weighted by `step_decay` to the position; the target's chances are
    those at temperature 1 over the draft vocabulary alone, as in EAGLE-3.

    Args:
        head: The head.
        embedding: The target's embeddings [vocabulary, hidden].
        scores: The target's head for the draft vocabulary [draft vocabulary, hidden].
        batch: Answers.
        settings: Steps and their weights.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=quick_dtype() is torch.bfloat16):
        return _surprise(head, embedding, scores, batch, settings)


def _surprise(head: Head, embedding: Tensor, scores: Tensor, batch: Batch, settings: LearnSettings) -> Tensor:
    total = torch.zeros(())
    weight = 0.0
    rows = torch.zeros_like(batch.tokens)
    known = batch.exists.clone()
    known[:, : batch.first + 1] = False
    rows[known] = torch.arange(int(known.sum()))
    with torch.no_grad():
        chances = linear(batch.final[known], scores).float().softmax(-1)
    for step, (states, real) in enumerate(unroll(head, embedding, batch, steps=settings.steps)):
        goal = chances[shifted(rows, 1 + step)[:, batch.first :][real]]
        share = settings.step_decay**step
        total = total + share * cross_entropy(head.logits(states[real]).float(), goal)
        weight += share
    return total / weight


class Optimiser:
    """AdamW with a warm-up and a cosine fall of the learning rate to a twentieth."""

    def __init__(self, head: Head, settings: LearnSettings, *, total_steps: int) -> None:
        self._settings = settings
        self._total = total_steps
        self.step = 0
        matrices = [one for one in head.parameters() if one.ndim > 1 and one is not head.lm_head]
        vectors = [one for one in head.parameters() if one.ndim == 1]
        groups = [
            {"params": matrices, "peak": settings.rate, "weight_decay": settings.weight_decay},
            {"params": vectors, "peak": settings.rate, "weight_decay": 0.0},
            {"params": [head.lm_head], "peak": settings.head_rate, "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.95), fused=True)
        self._parameters = list(head.parameters())

    def learn(self, surprise: Tensor) -> None:
        """One step down the gradient of `surprise`."""
        for group in self._adam.param_groups:
            group["lr"] = group["peak"] * self._share()
        self._adam.zero_grad(set_to_none=True)
        surprise.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._adam.step()
        self.step += 1

    def _share(self) -> float:
        warm = min(1.0, (self.step + 1) / max(1, self._settings.warmup))
        done = min(1.0, self.step / max(1, self._total))
        return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"adam": self._adam.state_dict(), "step": self.step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint's state."""
        self._adam.load_state_dict(state["adam"])
        self.step = state["step"]

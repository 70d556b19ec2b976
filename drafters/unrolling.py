"""Drafting from every token of recorded answers at once, as an engine would from that token.

An engine runs the head over the tokens it has, with the target's states, then lets it draft on by its own. At
training and at measuring, the drafts of all positions go side by side: the query of step j at position t sees
the keys of the first pass up to t and those of its own steps 1 … j, never another position's drafts
("training-time test" of EAGLE-3). Earlier draft tokens are taken as accepted: step j reads the token that the
answer really has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from drafters.head import Head


@dataclass(frozen=True, slots=True)
class Batch:
    """Answers of like length, side by side; padded at their ends.

    Position t of an answer's drafts stands for the state of its token t: drafting from there means that token
    t + 1 is known and token t + 2 is to be foreseen. `first` is the same column for all: answers are shifted
    so that their prompts end together.

    Attributes:
        aux: [answers, tokens, 3, hidden], zero where `exists` is not.
        final: [answers, tokens, hidden].
        tokens: [answers, tokens].
        exists: [answers, tokens], whether there is a token.
        first: The column of the prompts' last tokens, from where drafts begin.
        positions: [answers, tokens], each token's position in its answer (0 where there is none).
        tasks: Each answer's task.
    """

    aux: Tensor
    final: Tensor
    tokens: Tensor
    exists: Tensor
    first: int
    positions: Tensor
    tasks: tuple[str, ...]


def unroll(head: Head, embedding: Tensor, batch: Batch, *, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each step j from 0: residual streams [answers, drafts, hidden], and which drafts are real.

    Row i of the drafts stands for column `first` + i; its step j foresees the token j + 2 columns on. A draft
    is real where the token it reads, j + 1 columns on, was recorded: the target's own view of what follows
    stands in that column's `final`.
    """
    width = batch.tokens.shape[1]
    columns = torch.arange(width)
    starts = columns[batch.first :]
    mixed = head.mix(batch.aux)
    embedded = embedding[shifted(batch.tokens, 1)]
    read, residual = head.inputs(embedded, mixed)
    query, keys, values = head.query_key_values(read, batch.positions)
    query, residual = query[:, :, batch.first :], residual[:, batch.first :]
    visible = (columns <= starts[:, None]) & batch.exists[:, None, None]
    states = residual
    own: list[tuple[Tensor, Tensor]] = []
    for step in range(steps):
        if step:
            read, residual = head.inputs(embedding[shifted(batch.tokens, 1 + step)][:, batch.first :], states)
            query, key, value = head.query_key_values(read, batch.positions[:, batch.first :] + step)
            own.append((key, value))
        states = head.finish(residual, _attend(query, keys, values, visible, own))
        yield states, shifted(batch.exists, 1 + step)[:, batch.first :]


def _attend(
    query: Tensor, keys: Tensor, values: Tensor, visible: Tensor, own: list[tuple[Tensor, Tensor]]
) -> Tensor:
    """Attention over the first pass's keys where `visible`, and over each draft's own keys."""
    answers, heads, drafts, width = query.shape
    groups = keys.shape[1]
    shared = query.reshape(answers, groups, heads // groups * drafts, width) * width**-0.5
    per_draft = shared.unflatten(2, (-1, drafts))
    scores = (shared @ keys.transpose(-1, -2)).unflatten(2, (-1, drafts))
    scores = scores.masked_fill(~visible[:, :, None], float("-inf"))
    extra = [(per_draft * key[:, :, None]).sum(-1, keepdim=True) for key, _ in own]
    weights = torch.cat((scores, *extra), dim=-1).softmax(-1)
    found = (weights[..., : keys.shape[2]].flatten(2, 3) @ values).unflatten(2, (-1, drafts))
    for number, (_, value) in enumerate(own):
        at = keys.shape[2] + number
        found = found + weights[..., at : at + 1] * value[:, :, None]
    return found.reshape(answers, heads, drafts, width)


def shifted(columns: Tensor, by: int) -> Tensor:
    """What stands `by` columns further on; zero past the end."""
    moved = torch.zeros_like(columns)
    moved[:, : columns.shape[1] - by] = columns[:, by:]
    return moved

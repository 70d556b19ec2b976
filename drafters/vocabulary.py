"""Which tokens a head can draft: those the target says most often, in all."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from drafters.errors import DraftError


def choose(mass: Tensor, size: int, *, always: Iterable[int]) -> Tensor:
    """Ids of the `size` tokens of greatest `mass` [vocabulary], and of `always`, in rising order.

    Raises:
        DraftError: `size` is not between the number of `always` and the vocabulary.
    """
    kept = sorted(set(always))
    if not len(kept) < size <= len(mass):
        raise DraftError(
            f"a draft vocabulary of {size} tokens: "
            f"it must be between {len(kept) + 1} and the target's {len(mass)}"
        )
    ranked = mass.clone()
    ranked[kept] = torch.inf
    return torch.topk(ranked, size).indices.sort().values


def coverage(mass: Tensor, draft_tokens: Tensor) -> float:
    """The share of what the target says that can be drafted at all."""
    return float(mass[draft_tokens].sum() / mass.sum())

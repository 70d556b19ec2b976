"""A head that begins as another one: what was learned is kept, the vocabulary may be another."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from drafters.head import Head


def take_over(head: Head, draft_tokens: Tensor, old: Head, old_tokens: Tensor) -> None:
    """Copies every weight of `old` into `head`; of its scores those of the tokens that both can draft.

    The other tokens keep the scores that `head` has. Both heads are for one target and of one width.

    Args:
        head: Changed in place.
        draft_tokens: Target ids of its vocabulary [draft vocabulary], rising.
        old: Where the weights come from.
        old_tokens: Target ids of the old vocabulary, rising.
    """
    places = torch.searchsorted(old_tokens, draft_tokens).clamp(max=len(old_tokens) - 1)
    both = old_tokens[places] == draft_tokens
    theirs = dict(old.named_parameters())
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if name == "lm_head":
                parameter[both] = theirs[name][places[both]]
            else:
                parameter.copy_(theirs[name])


def fingerprint(head: Head, draft_tokens: Tensor) -> str:
    """Tells heads from one another: over all weights in half precision, and the vocabulary."""
    found = hashlib.blake2b(draft_tokens.numpy().tobytes(), digest_size=16)
    for _, parameter in sorted(head.named_parameters()):
        found.update(parameter.detach().half().contiguous().numpy().tobytes())
    return found.hexdigest()

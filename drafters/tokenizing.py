"""A target's own tokens: conversations by its chat template, answers, and what ends one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer

from drafters.errors import DraftError
from drafters.requests import Encode, Messages
from drafters.shape import read_shape


@dataclass(frozen=True, slots=True)
class TargetTokens:
    """What a target reads.

    Attributes:
        encode: A conversation, with the chat template, open for the answer.
        text: Bare text, as an answer has it.
        ends: The tokens that end an answer.
    """

    encode: Encode
    text: Callable[[str], list[int]]
    ends: frozenset[int]


def target_tokens(model: Path) -> TargetTokens:
    """The tokenizer in a model's folder.

    Raises:
        DraftError: It cannot be read, has no chat template, or has more tokens than the model.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        generation = model / "generation_config.json"
        named = json.loads(generation.read_text(encoding="utf-8")) if generation.exists() else {}
    except (OSError, ValueError) as error:
        raise DraftError(
            f"{model}: its tokenizer cannot be read ({error}): prepare the model again"
        ) from error
    if not tokenizer.chat_template:
        raise DraftError(f"{model}: no chat template: distil an instruction-tuned model")
    known = len(tokenizer)
    if known > (size := read_shape(model).vocabulary):
        raise DraftError(f"{model}: its tokenizer has {known} tokens, its config.json says vocab_size {size}")

    def encode(messages: Messages) -> list[int]:
        found: list[int] = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_dict=False
        )
        return found

    def text(answer: str) -> list[int]:
        found: list[int] = tokenizer.encode(answer, add_special_tokens=False)
        return found

    ends = named.get("eos_token_id", tokenizer.eos_token_id)
    listed = ends if isinstance(ends, list) else [ends, tokenizer.eos_token_id]
    return TargetTokens(encode, text, frozenset(token for token in listed if token is not None))

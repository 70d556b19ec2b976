"""A small tokenizer on disk, and changes to it that make it another's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def write_tokenizer(folder: Path, texts: tuple[str, ...]) -> None:
    """A byte-level BPE tokenizer trained on `texts`, with a chat's special tokens; 420 tokens at most."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    built = tokenizers.Tokenizer(tokenizers.models.BPE())
    built.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    built.train_from_iterator(texts, trainer)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=built,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
        pad_token="<|im_end|>",
    ).save_pretrained(folder)


def change_tokenizer(folder: Path, change: Change) -> None:
    """Change the content of tokenizer.json and tokenizer_config.json."""
    files = [folder / name for name in ("tokenizer.json", "tokenizer_config.json")]
    documents = [json.loads(file.read_text("utf-8")) for file in files]
    change(*documents)
    for file, document in zip(files, documents, strict=True):
        file.write_text(json.dumps(document), "utf-8")


def swap_special(tokenizer: dict[str, Any], _settings: dict[str, Any]) -> None:
    """`<|im_start|>` and `<|im_end|>` take each other's ids."""
    vocabulary, added = tokenizer["model"]["vocab"], tokenizer["added_tokens"]
    start, end = "<|im_start|>", "<|im_end|>"
    vocabulary[start], vocabulary[end] = vocabulary[end], vocabulary[start]
    for token in added:
        if token["content"] in {start, end}:
            token["id"] = vocabulary[token["content"]]
    added.sort(key=lambda token: token["id"])

"""Captured answers of a tiny target whose greedy answers are letters, so that text and tokens agree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from drafters.answering import Answering, Request
from drafters.captured import Captured
from drafters.export import export
from drafters.head import Head, HeadShape
from drafters.target import Target
from drafters.tokenizing import target_tokens
from tests.unit.drafters.tiny_target import write_target

VOCABULARY = 64


def write_letters_target(folder: Path, *, seed: int = 0) -> Path:
    """The tiny model, but that tokens other than printable ASCII score nothing."""
    write_target(folder, seed=seed)
    known = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    file = folder / "model.safetensors"
    found = load_file(file)
    for token, ident in known.items():
        if len(token) > 1 or not token.isascii():
            found["model.embed_tokens.weight"][ident] = 0
    save_file(found, file, metadata={"format": "pt"})
    return folder


def captured(model: Path, count: int, **changes: Any) -> list[Captured]:
    """What the target answers greedily to as many questions."""
    tokens = target_tokens(model)
    spelled = Tokenizer.from_file(str(model / "tokenizer.json"))
    target = Target.load(model)
    asked = {}
    for number in range(count):
        messages = ({"role": "user", "content": f"{chr(97 + number % 26)}{number * 7919}?"},)
        asked[f"{number}"] = (
            Request(f"{number}", "qa", tuple(tokens.encode(messages)), 0.0, held_out=False),
            messages,
        )
    answering = Answering(target, slots=16, prompt_tokens=32, answer_tokens=14, ends=frozenset())
    rows = []
    for answer in answering.run(request for request, _ in asked.values()):
        said = answer.tokens[len(answer.request.tokens) :].tolist()
        row = Captured(
            at=float(answer.request.ident),
            task="qa",
            messages=asked[answer.request.ident][1],
            answer=spelled.decode(said, skip_special_tokens=False),
            temperature=0.0,
            redacted=False,
        )
        rows.append(replace(row, **changes))
    return rows


def write_rows(folder: Path, rows: list[Captured]) -> Path:
    """A capture folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "captured-here-0-000001.jsonl").write_text("\n".join(row.line() for row in rows), "utf-8")
    return folder


def write_drafter(folder: Path, model: Path, *, seed: int = 3) -> Path:
    """A drafter of random weights, which foresees nothing."""
    target = Target.load(model)
    head = Head(HeadShape(target.shape, 40, VOCABULARY), seed=seed)
    import torch

    tokens = torch.arange(VOCABULARY) + 190
    return export(folder, head, tokens, report={}, notes="# A drafter")


def contents(folder: Path) -> dict[str, bytes]:
    """A folder's files."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def verdict(folder: Path) -> dict[str, Any]:
    """What a refresh left in its folder."""
    found: dict[str, Any] = json.loads((folder / "verdict.json").read_text("utf-8"))
    return found

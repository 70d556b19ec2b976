"""What is wrong with a drafter by its files, before an engine spends minutes to find out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from replicas.drafting import METHODS
from replicas.profiles import Profile

_MTP_LAYERS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers")
_SHOWN = 3


def drafter_problems(profile: Profile, target: Path | None) -> Iterator[str]:
    """One line for everything that keeps this profile's drafter from working on the model in `target`.

    `target` is None for a model that is not on this machine yet: then only what the profile says is looked
    at. Folders without a config.json are somebody else's to report.
    """
    where = f"profiles.{profile.name}"
    drafting = METHODS[profile.method]
    if drafting.package is not None and find_spec(drafting.package) is None:
        yield (
            f"{where}.method: {profile.method} needs the package {drafting.package.replace('_', '-')}, "
            "which is not installed: build it as docs/methods.md says, or choose another method"
        )
    target_config = _config(target)
    if target_config is None:
        return
    drafter = Path(profile.draft_model) if profile.draft_model else None
    config = _config(drafter)
    yield from misfits(where, profile.method, profile.k, target_config, config)
    if drafter is not None and config is not None and profile.method == "draft_model":
        yield from _vocabulary(where, profile, drafter, target)
        yield from _vocabulary_size(where, profile, config, target_config)


def misfits(
    where: str, method: str, k: int, target: Mapping[str, Any], config: Mapping[str, Any] | None
) -> Iterator[str]:
    """Why a drafter cannot work on a target by their configurations alone; `config` is the drafter's."""
    if method == "mtp":
        yield from _mtp(where, k, target)
    if config is None or method == "draft_model":
        return
    if method == "medusa":
        yield from _medusa(where, k, config)
        yield from _width(where, config, target)
    else:
        yield from _width(where, config, target)
        yield from _draft_vocabulary(where, config, target)


def _mtp(where: str, k: int, target: Mapping[str, Any]) -> Iterator[str]:
    """For more tokens than layers vLLM goes through all layers again, so k is then a multiple of them."""
    text = target.get("text_config")
    found = [
        config.get(name)
        for name in _MTP_LAYERS
        for config in (target, text if isinstance(text, dict) else {})
    ]
    layers = max((count for count in found if isinstance(count, int)), default=0)
    if layers <= 0:
        names = ", ".join(_MTP_LAYERS)
        yield f"{where}.method: the target has no MTP layers (its config.json has none of {names})"
    elif k > layers and k % layers:
        yield (
            f"{where}.k: {k} is more than the target's {layers} MTP layers, and no multiple of them: "
            f"set k to {k // layers * layers}"
        )


def _medusa(where: str, k: int, config: Mapping[str, Any]) -> Iterator[str]:
    heads = config.get("num_heads", config.get("medusa_num_heads"))
    if isinstance(heads, int) and k > heads:
        yield f"{where}.k: {k} is more than the drafter's {heads} heads: set k to {heads} or less"


def _width(where: str, config: Mapping[str, Any], target: Mapping[str, Any]) -> Iterator[str]:
    """A head reads the target's hidden states, so it was trained for one width of them."""
    expected = config.get("target_hidden_size", config.get("hidden_size"))
    text = target.get("text_config")  # where a model that reads more than text tells of its decoder
    own = target.get("hidden_size", text.get("hidden_size") if isinstance(text, dict) else None)
    if isinstance(expected, int) and isinstance(own, int) and expected != own:
        yield (
            f"{where}.draft_model: a head for hidden states of {expected}, the target's have "
            f"{own}: it was trained for another model"
        )


def _draft_vocabulary(where: str, config: Mapping[str, Any], target: Mapping[str, Any]) -> Iterator[str]:
    full, own = config.get("vocab_size"), target.get("vocab_size")
    if isinstance(full, int) and isinstance(own, int) and full != own:
        yield (
            f"{where}.draft_model: a head for a vocabulary of {full} tokens, the target's has {own}: "
            "it was trained for another model"
        )


def _vocabulary(where: str, profile: Profile, drafter: Path, target: Path | None) -> Iterator[str]:
    """Ids travel between the two models, so the same id must be the same text in both."""
    if profile.draft_options.get("use_heterogeneous_vocab"):
        return
    ours, theirs = _tokens(drafter), _tokens(target)
    if ours is None or theirs is None:
        return
    if (difference := token_difference(ours, theirs)) is None:
        return
    yield (
        f"{where}.draft_model: its tokenizer is not the target's: {difference}: choose a drafter of the same "
        "family, or set draft_options.use_heterogeneous_vocab"
    )


def token_difference(ours: Mapping[str, int], theirs: Mapping[str, int]) -> str | None:
    """How many of the target's tokens (`theirs`) have another id at the drafter, and the first; or None."""
    different = sorted((ident, token) for token, ident in theirs.items() if ours.get(token) != ident)
    if not different:
        return None
    shown = ", ".join(f"{token!r} is {ident} there" for ident, token in different[:_SHOWN])
    return f"{len(different)} tokens differ, as {shown}"


def _vocabulary_size(
    where: str, profile: Profile, config: Mapping[str, Any], target: Mapping[str, Any]
) -> Iterator[str]:
    """The two models' logits must have one length for vLLM, whatever their tokenizers say."""
    theirs, ours = config.get("vocab_size"), target.get("vocab_size")
    if profile.draft_options.get("use_heterogeneous_vocab") or theirs == ours:
        return
    if isinstance(theirs, int) and isinstance(ours, int):
        yield (
            f"{where}.draft_model: a vocabulary of {theirs} tokens, the target's has {ours}: choose a "
            "drafter of the same family, or set draft_options.use_heterogeneous_vocab"
        )


def _tokens(folder: Path | None) -> dict[str, int] | None:
    """Every token's id, special ones included; None where the folder has no fast tokenizer."""
    document = _json(folder / "tokenizer.json") if folder is not None else None
    if document is None or not isinstance(model := document.get("model"), dict):
        return None
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):  # unigram: pieces with their scores
        tokens = {piece[0]: ident for ident, piece in enumerate(vocabulary)}
    elif isinstance(vocabulary, dict):
        tokens = dict(vocabulary)
    else:
        return None
    return tokens | {added["content"]: added["id"] for added in document.get("added_tokens") or []}


def _config(folder: Path | None) -> dict[str, Any] | None:
    return _json(folder / "config.json") if folder is not None else None


def _json(file: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None

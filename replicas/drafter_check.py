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
            "which is not installed: install it, or choose another method"
        )
    target_config = _config(target)
    if target_config is None:
        return
    if profile.method == "mtp":
        yield from _mtp(where, target_config)
    drafter = Path(profile.draft_model) if profile.draft_model else None
    config = _config(drafter)
    if drafter is None or config is None:
        return
    if profile.method == "draft_model":
        yield from _vocabulary(where, profile, drafter, target)
    elif profile.method == "medusa":
        yield from _medusa(where, profile, config)
        yield from _width(where, config, target_config)
    else:
        yield from _width(where, config, target_config)
        yield from _draft_vocabulary(where, config, target_config)


def _mtp(where: str, target: Mapping[str, Any]) -> Iterator[str]:
    text = target.get("text_config")
    layers = [
        config.get(name)
        for name in _MTP_LAYERS
        for config in (target, text if isinstance(text, dict) else {})
    ]
    if not any(isinstance(count, int) and count > 0 for count in layers):
        names = ", ".join(_MTP_LAYERS)
        yield f"{where}.method: the target has no MTP layers (its config.json has none of {names})"


def _medusa(where: str, profile: Profile, config: Mapping[str, Any]) -> Iterator[str]:
    heads = config.get("num_heads", config.get("medusa_num_heads"))
    if isinstance(heads, int) and profile.k > heads:
        yield f"{where}.k: {profile.k} is more than the drafter's {heads} heads: set k to {heads} or less"


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
    different = sorted((ident, token) for token, ident in theirs.items() if ours.get(token) != ident)
    if not different:
        return
    shown = ", ".join(f"{token!r} is {ident} there" for ident, token in different[:_SHOWN])
    yield (
        f"{where}.draft_model: its tokenizer is not the target's: {len(different)} tokens differ, "
        f"as {shown}: choose a drafter of the same family, or set draft_options.use_heterogeneous_vocab"
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

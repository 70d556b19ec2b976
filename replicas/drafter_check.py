"""What is wrong with a drafter by its files, before an engine spends minutes to find out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from policies.planning.configs import MTP_LAYERS
from policies.planning.drafts import head_config, other_method
from replicas.drafting import METHODS, PARALLEL
from replicas.model_files import CONFIG, ModelFilesError, described, read_object, stored_weights
from replicas.profiles import Profile

_NAMES: Final = ("model_type", "architectures", "speculators_model_type")
_MASKS: Final = frozenset({"mask_token_id", "dspark_noise_token_id", "pard_token", "ptd_token_id"})
_SHOWN: Final = 3
_MADE_AS: Final = {
    "draft_model": "a language model",
    "medusa": "Medusa heads",
    "eagle": "an EAGLE head",
    "eagle3": "an EAGLE-3 head",
    "dflash": "a DFlash drafter",
    "dspark": "a DSpark drafter",
}


def drafter_problems(profile: Profile, target: str | Path | None) -> Iterator[str]:
    """One line for everything that keeps this profile's drafter from working on `target`, by configurations.

    `target` is what `model.path` names, None for a model that nobody knows: then only what profile and
    drafter say is looked at. Folders without a config.json are somebody else's to report, and so is whether
    weights are whole.
    """
    where = f"profiles.{profile.name}"
    drafting = METHODS[profile.method]
    if drafting.package is not None and find_spec(drafting.package) is None:
        yield (
            f"{where}.method: {profile.method} needs the package {drafting.package.replace('_', '-')}, "
            "which is not installed: build it as docs/methods.md says, or choose another method"
        )
    drafter = Path(profile.draft_model) if profile.draft_model else None
    try:
        config = None if drafter is None else _config(drafter)
    except ModelFilesError as error:
        yield f"{where}.draft_model: {error}"
        return
    if drafter is not None and config is not None:
        if (wrong := method_problem(profile.method, config, _tensors(drafter))) is not None:
            yield f"{where}.method: {wrong}"
            return
        yield from _unnamed(where, profile.method, drafter, config)
        yield from _unmasked(where, profile, config)
    known = None if target is None else described(str(target))
    if known is None:
        return
    yield from misfits(where, profile.method, profile.k, known.config, config)
    if drafter is not None and config is not None and profile.method == "draft_model":
        yield from _vocabulary(where, profile, drafter, known.folder)
        yield from _vocabulary_size(where, profile, config, known.config)


def method_problem(method: str, config: Mapping[str, Any], tensors: Collection[str] = ()) -> str | None:
    """What a drafter is, where it is not for this method, and what to do; None where it may be for it."""
    made_for = other_method(method, config, tensors)
    if made_for is None:
        return None
    named = config.get("architectures") or config.get("model_type")
    shown = f" ({named[0] if isinstance(named, list) else named})" if named else ""
    needed = next(drafting.folder for name, drafting in METHODS.items() if name == method)
    return (
        f"{method}, but its drafter is {_MADE_AS[made_for]} by its files{shown}: "
        f"set method to {made_for}, or name {needed}"
    )


def misfits(
    where: str, method: str, k: int, target: Mapping[str, Any], config: Mapping[str, Any] | None
) -> Iterator[str]:
    """Why a drafter of its method cannot work on a target, by both configurations; `config` is its own."""
    if method == "mtp" and _mtp_layers(target) <= 0:
        names = ", ".join(MTP_LAYERS)
        yield (
            f"{where}.method: the target has no MTP layers (its config.json has none of {names}): "
            "choose another method"
        )
    elif (wrong := k_problem(method, k, target, config)) is not None:
        yield f"{where}.k: {wrong}"
    if config is not None and method != "draft_model":
        yield from _width(where, head_config(config), target)
        yield from _draft_vocabulary(where, head_config(config), target)


def k_problem(method: str, k: int, target: Mapping[str, Any], config: Mapping[str, Any] | None) -> str | None:
    """Why a drafter cannot draft k tokens, and what it can; None where it can.

    A Medusa head drafts one position. For more tokens than MTP layers vLLM goes through all of these again,
    so k is then a multiple of them.
    """
    if method == "medusa" and config is not None:
        heads = config.get("num_heads", config.get("medusa_num_heads"))
        if isinstance(heads, int) and k > heads:
            return f"{k} is more than the drafter's {heads} heads: set k to {heads} or less"
    if method == "mtp" and k > (layers := _mtp_layers(target)) > 0 and k % layers:
        return (
            f"{k} is more than the target's {layers} MTP layers, and no multiple of them: "
            f"set k to {k // layers * layers}"
        )
    return None


def _mtp_layers(target: Mapping[str, Any]) -> int:
    text = target.get("text_config")
    found = [
        config.get(name)
        for name in MTP_LAYERS
        for config in (target, text if isinstance(text, Mapping) else {})
    ]
    return max((count for count in found if isinstance(count, int)), default=0)


def _unnamed(where: str, method: str, drafter: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Engines choose a model's code by these names; only Medusa heads they know without."""
    if method != "medusa" and not any(key in config for key in _NAMES):
        yield (
            f"{where}.draft_model: {drafter / CONFIG}: neither model_type nor architectures: "
            "this is no drafter's config.json: download it again, or name another folder"
        )


def mask_problem(config: Mapping[str, Any]) -> str | None:
    """Why a drafter cannot propose all tokens in one pass; None where it can.

    It fills the places to come with a token of its own.
    """
    block = config.get("dflash_config")
    if "mask_token_id" in (block if isinstance(block, Mapping) else ()) or _MASKS & config.keys():
        return None
    return (
        f"its config.json names no token for the places to come (none of {', '.join(sorted(_MASKS))}): "
        "name a drafter that was trained to draft in parallel"
    )


def _unmasked(where: str, profile: Profile, config: Mapping[str, Any]) -> Iterator[str]:
    if not (profile.draft_options.get(PARALLEL) or profile.method in {"dflash", "dspark"}):
        return
    if (wrong := mask_problem(config)) is not None:
        yield f"{where}.draft_model: {wrong}"


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
    try:
        ours, theirs = _tokens(drafter), _tokens(target)
    except ModelFilesError as error:
        yield f"{where}.draft_model: its tokenizer cannot be compared with the target's: {error}"
        return
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
    document = _json(folder, "tokenizer.json")
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


def _tensors(folder: Path) -> Collection[str]:
    """The names of its weights; none where they cannot be told."""
    with suppress(ModelFilesError):
        stored = stored_weights(folder)
        return stored.names if stored is not None else ()
    return ()


def _config(folder: Path) -> dict[str, Any] | None:
    return _json(folder, CONFIG)


def _json(folder: Path | None, name: str) -> dict[str, Any] | None:
    """The object in a file of the folder, None where there is none; a bad one raises ModelFilesError."""
    try:
        if folder is None or not (folder / name).is_file():
            return None
    except OSError:
        return None
    return read_object(folder / name)

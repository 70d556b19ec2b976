"""Whether a drafter reads and writes the target's tokens: both tokenizers are loaded and compared.

Ids travel between the two models, so the same id must be the same text, special tokens end the same turns,
and the same text must become the same ids: a tokenizer may hold the same vocabulary and cut text differently.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from replicas.drafter_check import token_difference

_FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")
_ROLES: Final = ("bos_token", "eos_token", "unk_token")
_SHOWN_CHARACTERS: Final = 40
_ADDED: Final = 64
SAMPLES: Final = (
    "The quick brown fox can't jump over 12,345 lazy dogs; it's 3.14159 o'clock.",
    "def add(a: int, b: int) -> int:\n    return a + b  # two spaces\n\n\tif x != y:\n\t\tpass\r\n",
    '{"name": "Zoë", "ids": [1, 22, 333, 4444], "nested": {"ok": true, "none": null}}',
    "Größe, naïve façade, mañana, žluťoučký kůň, ÀÉÎÕÜ — “quotes” … ½ + 10⁻³ €",
    "Съешь же ещё этих мягких французских булок. Ελληνικά. עברית. العربية. हिन्दी भाषा।",
    "今日はいい天気ですね。我们去公园吧。한국어 문장입니다. ภาษาไทย",
    "🙂👍🏽 👩‍👩‍👧‍👦 ∑ ∫ √2 ≤ π → \u200b zero width \u00a0 fixed space",
    "   leading, trailing   \n\n\n  and    runs of     spaces\t\ttabs\n",
    "SELECT count(*) FROM users WHERE created_at >= '2024-01-31' AND id IN (7, 42);",
    "1 12 123 1234 12345 123456 0x1F 1e-9 v2.10.3 2024-02-29T23:59:59Z",
    "supercalifragilisticexpialidocious ANTIDISESTABLISHMENTARIANISM camelCaseName snake_case_name",
    "https://example.org/a/b?c=d&e=%20f#g user@example.org C:\\path\\to\\file",
)
"""Texts in which tokenizers differ: digits, white space, case, scripts, emoji, code."""


@dataclass(frozen=True, slots=True)
class TokenizerComparison:
    """What comparing two tokenizers found.

    Attributes:
        checked: Whether both could be loaded; else `notes` says why not.
        problems: A line for everything that makes the drafter wrong for the target.
        notes: What differs without harm, or could not be checked.
        tokens, texts: How many were compared.
    """

    checked: bool
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tokens: int = 0
    texts: int = 0


def compare_tokenizers(drafter: Path | None, target: Path | None) -> TokenizerComparison:
    """Compare the tokenizers in two folders: vocabulary, special tokens, and what texts become.

    None is a model that is not here. A folder without tokenizer files is not checked either; one whose files
    cannot be loaded is a problem.
    """
    loaded = []
    for role, folder in (("drafter", drafter), ("target", target)):
        if folder is None or not any((folder / name).is_file() for name in _FILES):
            return TokenizerComparison(checked=False, notes=(f"no tokenizer files of the {role} here",))
        try:
            loaded.append(_load(folder))
        except Exception as error:  # noqa: BLE001 - whatever a tokenizer's files make the libraries raise
            reason = " ".join(str(error).split())[:200]
            return TokenizerComparison(
                checked=False, problems=(f"{folder}: the {role}'s tokenizer cannot be loaded: {reason}",)
            )
    ours, theirs = loaded
    vocabulary = theirs.get_vocab()
    texts = [*SAMPLES, *_with_special_tokens(theirs)]
    problems = [
        *_vocabulary(ours.get_vocab(), vocabulary),
        *_special_tokens(ours, theirs),
        *_texts(ours, theirs, texts),
    ]
    return TokenizerComparison(
        checked=True,
        problems=tuple(problems),
        notes=tuple(_notes(ours, theirs)),
        tokens=len(vocabulary),
        texts=len(texts),
    )


def _load(folder: Path) -> Any:
    from transformers import AutoTokenizer  # noqa: PLC0415 - takes seconds
    from transformers.utils.logging import set_verbosity_error  # noqa: PLC0415

    set_verbosity_error()  # it would advise on training
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def _vocabulary(ours: dict[str, int], theirs: dict[str, int]) -> Iterator[str]:
    if (difference := token_difference(ours, theirs)) is not None:
        yield f"vocabulary: {difference}"


def _special_tokens(ours: Any, theirs: Any) -> Iterator[str]:
    for role in _ROLES:
        own, other = getattr(ours, role), getattr(theirs, role)
        if own != other:
            yield f"special tokens: {role} is {own!r}, the target's {other!r}"
    own, other = set(ours.all_special_tokens), set(theirs.all_special_tokens)
    for token in sorted(own ^ other)[:1]:
        where = "the drafter" if token in own else "the target"
        yield f"special tokens: {token!r} is one for {where} only"


def _with_special_tokens(tokenizer: Any) -> Iterator[str]:
    """Texts around every special token, as chat templates write them."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    for token in dict.fromkeys([*tokenizer.all_special_tokens, *added[:_ADDED]]):
        yield f"{token}user\nHello{token}\n"


def _texts(ours: Any, theirs: Any, texts: list[str]) -> Iterator[str]:
    different = [text for text in texts if _encoded(ours, text) != _encoded(theirs, text)]
    if not different:
        return
    own, other = _encoded(ours, different[0]), _encoded(theirs, different[0])
    place = next(
        (at for at, (left, right) in enumerate(zip(own, other, strict=False)) if left != right),
        min(len(own), len(other)),
    )
    shown = different[0][:_SHOWN_CHARACTERS]
    yield (
        f"texts: {len(different)} of {len(texts)} become other ids, as {shown!r} from its token "
        f"{place + 1} on: {own[place : place + 3]}, the target's {other[place : place + 3]}"
    )


def _encoded(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def _notes(ours: Any, theirs: Any) -> Iterator[str]:
    if more := len(set(ours.get_vocab()) - set(theirs.get_vocab())):
        yield f"the drafter has {more} tokens that the target lacks: drafts of them are never accepted"
    if ours.pad_token != theirs.pad_token:
        yield f"pad_token is {ours.pad_token!r}, the target's {theirs.pad_token!r}: never drafted"
    if ours.chat_template != theirs.chat_template:
        yield "chat templates differ: the target's is used"

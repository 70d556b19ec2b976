"""The ways to draft that vLLM offers: what each needs, what it excludes and how it costs.

The names are vLLM's (`SpeculativeConfig.method`, vLLM's documentation, "Speculative Decoding").
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator

Method = Literal["none", "ngram", "suffix", "draft_model", "medusa", "eagle", "eagle3", "mtp"]


PACKAGED_AS: Final = "embedded"
"""Names, in the place of a path, the drafter that ships with the product for the embedded model."""
PACKAGED: Final = Path(__file__).parent / "drafters" / "smollm2-135m-instruct-eagle3"


def drafter_folder(named: str) -> str:
    """The folder that a profile's `draft_model` stands for.

    Raises:
        ValueError: It stands for the packaged drafter, and this installation has none.
    """
    if named != PACKAGED_AS:
        return named
    if not (PACKAGED / "config.json").is_file():
        raise ValueError(
            "no drafter ships with this installation: make one with `specroute draft train`, name its folder"
        )
    return str(PACKAGED)


DrafterFolder = Annotated[str, AfterValidator(drafter_folder)]


class Drafting(NamedTuple):
    """One way to draft.

    `folder` says what `draft_model` names, None where the method has no weights of its own. A drafter that
    `copies` looks text up and takes next to no time; the others take time by the tokens they are asked for.
    One that `cuts_only` always drafts all k tokens and has them cut. `package` has to be installed for it.
    """

    words: str
    folder: str | None = None
    copies: bool = False
    cuts_only: bool = False
    package: str | None = None


METHODS: Final[Mapping[Method, Drafting]] = {
    "none": Drafting("plain decoding"),
    "ngram": Drafting("n-gram drafts", copies=True),
    "suffix": Drafting("suffix decoding", copies=True, cuts_only=True, package="arctic_inference"),
    "draft_model": Drafting("drafts by a model", folder="a smaller model with the target's tokenizer"),
    "medusa": Drafting(
        "drafts by Medusa heads", folder="Medusa heads trained for the target", cuts_only=True
    ),
    "eagle": Drafting("drafts by an EAGLE head", folder="an EAGLE head trained for the target"),
    "eagle3": Drafting("drafts by an EAGLE-3 head", folder="an EAGLE-3 head trained for the target"),
    "mtp": Drafting("drafts by the model's own MTP layers"),
}
"""`mtp` drafts with layers that the target itself carries, so it has no folder."""

COPYING: Final = frozenset(name for name, drafting in METHODS.items() if drafting.copies)
CUTS_ONLY: Final = frozenset(name for name, drafting in METHODS.items() if drafting.cuts_only)

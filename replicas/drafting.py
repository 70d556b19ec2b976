"""The ways to draft that vLLM offers: what each needs, what it excludes and how it costs.

The names are vLLM's (`SpeculativeConfig.method`, vLLM's documentation, "Speculative Decoding").
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator

Method = Literal[
    "none", "ngram", "suffix", "draft_model", "medusa", "eagle", "eagle3", "mtp", "dflash", "dspark"
]


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
    One that `cuts_only` always drafts all k tokens and has them cut; `learns_parallel` says that some of its
    drafters were trained to, which vLLM is told with its option `parallel_drafting`. `package` has to be
    installed for it, `gpus_only` needs GPUs, and `first_runner` takes a request's k only in the first of
    vLLM's two model runners for GPUs.
    """

    words: str
    folder: str | None = None
    copies: bool = False
    cuts_only: bool = False
    learns_parallel: bool = False
    package: str | None = None
    gpus_only: bool = False
    first_runner: bool = False


METHODS: Final[Mapping[Method, Drafting]] = {
    "none": Drafting("plain decoding"),
    "ngram": Drafting("n-gram drafts", copies=True, first_runner=True),
    "suffix": Drafting("suffix decoding", copies=True, cuts_only=True, package="arctic_inference"),
    "draft_model": Drafting(
        "drafts by a model",
        folder="a smaller model with the target's tokenizer",
        learns_parallel=True,
        first_runner=True,
    ),
    "medusa": Drafting(
        "drafts by Medusa heads", folder="Medusa heads trained for the target", cuts_only=True
    ),
    "eagle": Drafting("drafts by an EAGLE head", folder="an EAGLE head trained for the target"),
    "eagle3": Drafting(
        "drafts by an EAGLE-3 head", folder="an EAGLE-3 head trained for the target", learns_parallel=True
    ),
    "mtp": Drafting("drafts by the model's own MTP layers"),
    "dflash": Drafting(
        "drafts by a DFlash block", folder="a DFlash drafter trained for the target", cuts_only=True
    ),
    "dspark": Drafting(
        "drafts by a DSpark block",
        folder="a DSpark drafter trained for the target, or of the target itself where it carries one",
        cuts_only=True,
        gpus_only=True,
    ),
}
"""`mtp` drafts with layers that the target itself carries, so it has no folder."""

COPYING: Final = frozenset(name for name, drafting in METHODS.items() if drafting.copies)
CUTS_ONLY: Final = frozenset(name for name, drafting in METHODS.items() if drafting.cuts_only)
PARALLEL: Final = "parallel_drafting"
"""vLLM's option for drafters that propose all k tokens in one pass: P-EAGLE's heads, PARD's models."""
_TABLE: Final = "num_speculative_tokens_per_batch_size"
_ADAPTIVE: Final = "enable_adaptive_verification"


def drafts_all_k(method: str, options: Mapping[str, Any]) -> bool:
    """Whether the drafter proposes all k tokens whatever it is asked for, so that they can only be cut.

    The proposers of suffix decoding and Medusa assert it; the one for `parallel_drafting` samples k rows for
    each request and divides them by what the scheduler asked for, which mixes requests up where that is less.
    """
    return method in CUTS_ONLY or bool(options.get(PARALLEL))


def parallel_problem(method: str) -> str | None:
    """What to say of `parallel_drafting` for a method; None where drafters of it were trained for that."""
    fitting = [name for name, other in METHODS.items() if other.learns_parallel]
    if method in fitting:
        return None
    return f"is for methods {' and '.join(fitting)}, not for {method}: leave it out"


def check_options(method: Method, options: Mapping[str, Any]) -> None:
    """Refuse options of vLLM's that do not work with the method, or not with a k for each request.

    Raises:
        ValueError: With the option and what to do.
    """
    if options.get(PARALLEL) and (wrong := parallel_problem(method)) is not None:
        raise ValueError(f"draft_options.{PARALLEL} {wrong}")
    if options.get(_TABLE) and drafts_all_k(method, options):
        raise ValueError(
            f"draft_options.{_TABLE}: a drafter that always proposes all k cannot be asked for fewer: "
            "leave it out"
        )
    if options.get(_ADAPTIVE):
        raise ValueError(
            f"draft_options.{_ADAPTIVE}: vLLM then moves draft tokens from one request to another, "
            "so that none keeps its own k: leave it out"
        )

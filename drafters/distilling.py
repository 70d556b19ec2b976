"""A drafter for a target, from prompts to a folder that engines load."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

import torch

from drafters.card import notes
from drafters.errors import DraftError
from drafters.export import export
from drafters.learning import LearnSettings
from drafters.recording import AskSettings, Recorded, Say, record
from drafters.requests import own_prompts, read_prompts, requests
from drafters.runs import only_run
from drafters.shape import read_shape
from drafters.target import Target
from drafters.tokenizing import target_tokens
from drafters.training import SizeSettings, Training

ANSWERS: Final = "answers"
DRAFTER: Final = "drafter"
_PER_TEMPLATE: Final = 40
_ASKED_FIRST: Final = 1e6


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a run is told.

    Attributes:
        ask: How answers are recorded.
        size: How big the head is.
        learn: How it is trained.
        prompts: An operator's prompts, answered before the project's own; a sixteenth of them is held out.
        threads: CPU threads, None for what torch chooses.
    """

    ask: AskSettings = field(default_factory=AskSettings)
    size: SizeSettings = field(default_factory=SizeSettings)
    learn: LearnSettings = field(default_factory=LearnSettings)
    prompts: Path | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Distilled:
    """A finished drafter: its folder, and its report (also in the folder's report.json)."""

    folder: Path
    report: dict[str, Any]


def distil(folder: Path, model: Path, settings: Settings, *, say: Say) -> Distilled:
    """Records answers in `folder`, trains a head on them and writes it to `folder/drafter`.

    What an earlier run in the same folder did is not done again.

    Raises:
        DraftError: Bad prompts or settings, a model that cannot be distilled, a damaged file, a full disk, or
            another run in the same folder.
    """
    with only_run(folder):
        recorded, ends = _record(folder, model, settings, say)
        training = Training(
            folder,
            Target.load(model),
            recorded,
            size=settings.size,
            learn=settings.learn,
            ends=ends,
            say=say,
        )
        trained = training.run()
        report = {"target": model.name, "asking": asdict(settings.ask), **trained.report}
        report["held_out"] = trained.acceptance.document()
        made = export(
            folder / DRAFTER, trained.head, trained.draft_tokens, report=report, notes=notes(report)
        )
    return Distilled(made, report)


def record_only(folder: Path, model: Path, settings: Settings, *, say: Say) -> Recorded:
    """The first half of `distil`.

    Raises:
        DraftError: As there.
    """
    with only_run(folder):
        return _record(folder, model, settings, say)[0]


def _record(folder: Path, model: Path, settings: Settings, say: Say) -> tuple[Recorded, frozenset[int]]:
    shape = read_shape(model)
    ask = settings.ask
    if ask.prompt_tokens + ask.answer_tokens > shape.positions:
        raise DraftError(
            f"prompts and answers of {ask.prompt_tokens + ask.answer_tokens} tokens: "
            f"{model} reads {shape.positions}"
        )
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    theirs = read_prompts(settings.prompts) if settings.prompts is not None else []
    tokens = target_tokens(model)
    first = (replace(prompt, weight=_ASKED_FIRST) for prompt in theirs)
    asked = requests(
        chain(first, own_prompts(per_template=_PER_TEMPLATE)), tokens.encode, prompt_tokens=ask.prompt_tokens
    )
    return record(folder / ANSWERS, model, asked, ask, ends=tokens.ends, say=say), tokens.ends

"""A stale drafter learns on from captured answers, and is replaced where the new one is better for sure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from drafters.card import notes
from drafters.comparing import Comparison
from drafters.corpus import Place
from drafters.errors import DraftError
from drafters.export import export, load_drafter
from drafters.head import Head
from drafters.judging import judge, too_few
from drafters.learning import LearnSettings
from drafters.reading import Parts, ReadSettings, chosen, read_answers
from drafters.recording import Recorded, Say
from drafters.refresh_run import RefreshRun
from drafters.runs import only_run
from drafters.target import WEIGHTS, Target, quick_dtype
from drafters.tokenizing import target_tokens
from drafters.training import MEASURED_K, SizeSettings, Training
from drafters.versions import promote, settled
from drafters.warming import fingerprint

LEARN: Final = LearnSettings(epochs=4, rate=5e-4, head_rate=2e-4, warmup=20, measure_steps=40)
"""Gentler and shorter than a first training: most of it is known already."""

_STATES: Final = 4
_BYTES: Final = 2


class Drafter(NamedTuple):
    """A head, and the target ids of its vocabulary."""

    head: Head
    draft_tokens: Tensor


@dataclass(frozen=True, slots=True)
class RefreshSettings:
    """Everything a refresh is told.

    Attributes:
        read: Which captured answers are taken.
        learn: How the head is trained on.
        k: Draft tokens a step at which the two are compared.
        margin: Tokens a step that the new drafter must be better by.
        confidence: Of the interval whose lower end must be above the margin.
        threads: CPU threads, None for what torch chooses.
    """

    read: ReadSettings = field(default_factory=ReadSettings)
    learn: LearnSettings = LEARN
    k: int = MEASURED_K
    margin: float = 0.0
    confidence: float = 0.95
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a refresh ended: `version` is the promoted folder, None where the old drafter stays."""

    version: Path | None
    comparison: Comparison
    report: dict[str, Any]


def refresh(
    folder: Path, drafter: Path, *, model: Path, captured: Path, settings: RefreshSettings, say: Say
) -> Verdict:
    """Trains the drafter on from captured answers in `folder`, and promotes it if it is better.

    The drafter in use is read, and only replaced at the very end. What an interrupted refresh of the same
    drafter did in the folder is not done again, with the answers it began with; after a verdict those and
    their hidden states are deleted.

    Args:
        folder: Of the run.
        drafter: What the profile's draft_model names.
        model: The target's folder.
        captured: A deployment's capture folder, or one of its files.
        settings: Sizes and limits.
        say: Receives progress, a line at a time.

    Raises:
        DraftError: A drafter of another model, a damaged file, too little that was captured, a full disk, or
            another run in the same folder.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    with only_run(folder):
        run = RefreshRun(folder)
        used = settled(drafter)
        target = Target.load(model)
        old = Drafter(*load_drafter(used, target.shape))
        tokens = target_tokens(model)
        found = run.rows(captured, _inputs(model, old, settings), say=say)
        parts = chosen(found.rows, tokens, settings.read)
        families = {one.request.ident: one.family for one in parts.measured}
        if (few := too_few(families.values())) is not None:
            run.forget()  # or the next run would go on with as few
            raise DraftError(few)
        run.check_space(_state_bytes(parts, target))
        learned, measured = _read(run, model, target, parts, settings=settings.read, say=say)
        new, report = continued(folder, target, learned, old, learn=settings.learn, ends=tokens.ends, say=say)
        report |= {"target": model.name, "refreshed_from": fingerprint(*old)}
        made = export(run.candidate, *new, report=report, notes=notes(report))
        new = Drafter(*load_drafter(made, target.shape))  # in half precision, as engines have it
        comparison = judge(
            target,
            old,
            new,
            places_of(measured),
            families=families,
            k=settings.k,
            confidence=settings.confidence,
        )
        version = None
        if comparison.is_better(settings.margin):
            version = promote(
                drafter, made, name=fingerprint(*new)[:8], check=lambda copy: load_drafter(copy, target.shape)
            )
        told = {
            "promoted": version is not None,
            "version": None if version is None else version.name,
            "drafter": str(drafter),
            "comparison": comparison.document(),
            "margin": settings.margin,
            "k": settings.k,
            "captured": len(found.rows),
            **{name: report[name] for name in ("answers", "answer_tokens", "held_out_answers")},
        }
        run.conclude(told)
    return Verdict(version, comparison, told)


def places_of(found: Recorded) -> list[Place]:
    """Where each recorded answer is."""
    return [Place(shard.file, entry) for shard in found.shards for entry in shard.entries]


def continued(
    folder: Path,
    target: Target,
    learned: Recorded,
    old: Drafter,
    *,
    learn: LearnSettings,
    ends: frozenset[int],
    say: Say,
) -> tuple[Drafter, dict[str, Any]]:
    """The old drafter, trained on, and the report of that.

    The draft vocabulary is chosen anew from these answers; a token that the old one could draft keeps its
    scores.

    Raises:
        DraftError: As `Training`.
    """
    shape = old.head.shape
    size = SizeSettings(shape.draft_vocabulary, shape.intermediate)
    training = Training(folder, target, learned, size=size, learn=learn, ends=ends, say=say, start=old)
    trained = training.run()
    report = {**trained.report, "held_out": trained.acceptance.document()}
    return Drafter(trained.head, trained.draft_tokens), report


def _read(
    run: RefreshRun, model: Path, target: Target, parts: Parts, *, settings: ReadSettings, say: Say
) -> tuple[Recorded, Recorded]:
    """Both parts, read by the target in the precision that is quick here."""
    quick = quick_dtype()
    reader = target if quick is target.dtype else Target.load(model, dtype=quick)
    learned = read_answers(run.learned, model, reader, parts.learned, settings=settings, say=say)
    return learned, read_answers(run.measured, model, reader, parts.measured, settings=settings, say=say)


def _inputs(model: Path, old: Drafter, settings: RefreshSettings) -> dict[str, Any]:
    """What an interrupted run must have had in common with this one."""
    weights = (model / WEIGHTS).stat()
    return {
        "model": [str(model.resolve()), weights.st_size, weights.st_mtime_ns],
        "drafter": fingerprint(*old),
        "read": asdict(settings.read),
        "learn": asdict(settings.learn),
    }


def _state_bytes(parts: Parts, target: Target) -> int:
    tokens = sum(len(one.request.tokens) + len(one.answer) for one in (*parts.learned, *parts.measured))
    return tokens * _STATES * target.shape.hidden * _BYTES

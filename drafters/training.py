"""Training a head on recorded answers: checkpoints, held-out acceptance while it runs, early stopping."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from drafters import checkpoint
from drafters.corpus import Corpus, batches, load
from drafters.errors import DraftError
from drafters.head import Head, HeadShape
from drafters.learning import LearnSettings, Optimiser, loss
from drafters.measuring import Acceptance, measure
from drafters.recording import Recorded, Say
from drafters.target import Target
from drafters.vocabulary import choose, coverage
from drafters.warming import fingerprint, take_over

CHECKPOINT: Final = "training.pt"
MEASURED_K: Final = 4
_MEASURED_TOKENS: Final = 4096


@dataclass(frozen=True, slots=True)
class SizeSettings:
    """What the head costs: each draft passes over all of it.

    Attributes:
        draft_vocabulary: Tokens it can draft.
        intermediate: Width of its feed-forward layer.
    """

    draft_vocabulary: int = 8192
    intermediate: int = 1536


@dataclass(frozen=True, slots=True)
class Trained:
    """The best head that was measured.

    Attributes:
        head: Its weights.
        draft_tokens: Target ids of its vocabulary.
        report: Settings, data and the measurements while it learned.
        acceptance: Of the best head on held-out answers.
    """

    head: Head
    draft_tokens: Tensor
    report: dict[str, Any]
    acceptance: Acceptance


@dataclass(slots=True)
class _Progress:
    best: float = 0.0
    best_step: int = 0
    waited: int = 0
    loss: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


class Training:
    """One training; `run` goes on from its folder's checkpoint, if there is one."""

    def __init__(
        self,
        folder: Path,
        target: Target,
        recorded: Recorded,
        *,
        size: SizeSettings,
        learn: LearnSettings,
        ends: frozenset[int],
        say: Say,
        start: tuple[Head, Tensor] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the recorded answers and chooses the draft vocabulary.

        With `start`, an earlier head and its draft tokens, the head begins as that one.

        Raises:
            DraftError: The answers are damaged or too few, or the vocabulary's size does not fit.
        """
        self._file = folder / CHECKPOINT
        self._target, self._learn, self._say, self._clock = target, learn, say, clock
        self._corpus = Corpus(recorded)
        self._draft_tokens = choose(self._corpus.mass, size.draft_vocabulary, always=ends)
        self._scores = target.head[self._draft_tokens]
        self._head = Head(HeadShape(target.shape, size.intermediate, size.draft_vocabulary), seed=learn.seed)
        self._head.begin_from(target, self._draft_tokens)
        told = [asdict(size), asdict(learn), [shard.digest for shard in recorded.shards]]
        if start is not None:
            take_over(self._head, self._draft_tokens, *start)
            told.append(fingerprint(*start))
        self._digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        self._plan = [
            group
            for epoch in range(learn.epochs)
            for group in batches(
                self._corpus.learned, tokens=learn.batch_tokens, order=random.Random(f"{learn.seed} {epoch}")
            )
        ]
        self._optimiser = Optimiser(self._head, learn, total_steps=len(self._plan))
        self._progress = _Progress()
        self._best = _weights(self._head)
        self._facts = {
            "answers": len(self._corpus.learned),
            "answer_tokens": self._corpus.answered,
            "held_out_answers": len(self._corpus.held_out),
            "draft_vocabulary_coverage": coverage(self._corpus.mass, self._draft_tokens),
            "size": asdict(size),
            "learning": asdict(learn),
        }

    def run(self) -> Trained:
        """Learns until the plan ends or held-out acceptance no longer rises; returns the best head measured.

        Raises:
            DraftError: The checkpoint is damaged or another training's, the disk is full, or the loss is no
                number any more.
        """
        facts = self._facts
        self._say(
            f"training: {facts['answer_tokens']:,} tokens of {facts['answers']:,} answers, "
            f"{facts['held_out_answers']} held out; the draft vocabulary covers "
            f"{facts['draft_vocabulary_coverage']:.1%} of what the target says"
        )
        self._restore()
        try:
            self._learn_on()
        except KeyboardInterrupt:
            self._save()
            self._say(
                f"training: stopped at step {self._optimiser.step}; the same command goes on from there"
            )
            raise
        self._head.load_state_dict(self._best)
        acceptance = self._measured()
        told = self._facts | {"best_step": self._progress.best_step, "history": self._progress.history}
        return Trained(self._head, self._draft_tokens, told, acceptance)

    def _learn_on(self) -> None:
        began, first = self._clock(), self._optimiser.step
        total = len(self._plan)
        self._measure_if_due()  # an interruption may have come before the measurement
        while self._optimiser.step < total and self._progress.waited < self._learn.patience:
            group = self._plan[self._optimiser.step]
            surprise = loss(self._head, self._target.embedding, self._scores, load(group), self._learn)
            value = float(surprise.detach())
            if not math.isfinite(value):
                raise DraftError(
                    f"training: the loss is {value} at step {self._optimiser.step}: delete {self._file} and "
                    "give a lower rate"
                )
            self._progress.loss = value
            self._optimiser.learn(surprise)
            step = self._optimiser.step
            if not self._measure_if_due() and step % self._learn.checkpoint_steps == 0:
                self._save()
            if step % self._learn.checkpoint_steps == 0:
                left = (self._clock() - began) / (step - first) * (total - step) / 60
                self._say(f"training: step {step} of at most {total}, loss {value:.3f}, {left:.0f} min left")

    def _measure_if_due(self) -> bool:
        """Measures the head, and saves, where this step's measurement is to be made and is not made yet."""
        step, history = self._optimiser.step, self._progress.history
        if step == (history[-1]["step"] if history else 0):
            return False
        if step % self._learn.measure_steps and step != len(self._plan):
            return False
        self._note(step)
        self._save()
        return True

    def _note(self, step: int) -> None:
        """Measures, and keeps the head if it is the best so far."""
        counts = self._measured().total
        length = counts.acceptance_length or 0.0
        progress = self._progress
        progress.waited += 1
        if length > progress.best:
            progress.best, progress.best_step, progress.waited = length, step, 0
            self._best = _weights(self._head)
        progress.history.append(
            {
                "step": step,
                "loss": progress.loss,
                "alpha_by_position": counts.conditional,
                "acceptance_length": length,
            }
        )
        shown = " ".join("-" if alpha is None else f"{alpha:.3f}" for alpha in counts.conditional)
        self._say(f"held out: step {step}, conditional acceptance {shown}, acceptance length {length:.3f}")

    def _measured(self) -> Acceptance:
        groups = batches(self._corpus.held_out, tokens=_MEASURED_TOKENS, order=random.Random(0))
        target = self._target
        return measure(
            self._head,
            target.embedding,
            target.head,
            self._draft_tokens,
            (load(group) for group in groups),
            k=MEASURED_K,
        )

    def _save(self) -> None:
        checkpoint.save(
            self._file,
            {
                "digest": self._digest,
                "head": self._head.state_dict(),
                "best_head": self._best,
                "optimiser": self._optimiser.state(),
                "progress": asdict(self._progress),
            },
        )

    def _restore(self) -> None:
        state = checkpoint.read(self._file, digest=self._digest)
        if state is None:
            return
        self._head.load_state_dict(state["head"])
        self._best = state["best_head"]
        self._optimiser.restore(state["optimiser"])
        self._progress = _Progress(**state["progress"])
        self._say(f"training: going on from step {self._optimiser.step} of at most {len(self._plan)}")


def _weights(head: Head) -> Mapping[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}

"""Training: learns, goes on after an interruption as if there had been none, and stops early."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from drafters import training as training_module
from drafters.errors import DraftError
from drafters.learning import LearnSettings
from drafters.measuring import Acceptance, Counts
from drafters.recording import Recorded
from drafters.training import SizeSettings, Trained, Training
from tests.unit.drafters.tiny_target import END, answer, record_answers, tiny_target

pytestmark = pytest.mark.unit

LEARN = LearnSettings(
    epochs=4, batch_tokens=40, rate=0.005, warmup=2, steps=2, measure_steps=4, checkpoint_steps=2, patience=99
)


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """Twelve answers, three of them held out."""
    return record_answers(tmp_path / "answers", [answer(n, held_out=n % 4 == 0) for n in range(12)])


def training(folder: Path, recorded: Recorded, learn: LearnSettings = LEARN, **options: Any) -> Training:
    """A training of the tiny target's drafter."""
    given = {"size": SizeSettings(50, 40), "say": lambda _: None, "clock": lambda: 0.0} | options
    return Training(folder, tiny_target(), recorded, learn=learn, ends=frozenset({END}), **given)


def same(first: Trained, second: Trained) -> bool:
    """Whether two heads have the same weights."""
    pairs = zip(first.head.parameters(), second.head.parameters(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, problem: BaseException, step: int) -> None:
    """Lets the loss of one step fail."""
    usual, calls = training_module.loss, iter(range(1000))

    def failing(*given: Any) -> Any:
        if next(calls) == step:
            raise problem
        return usual(*given)

    monkeypatch.setattr(training_module, "loss", failing)


def test_progress_and_held_out_acceptance_are_told(tmp_path: Path, recorded: Recorded) -> None:
    """While it learns, and in the report."""
    said: list[str] = []
    trained = training(tmp_path, recorded, say=said.append).run()
    assert any(line.startswith("training: step 4 of at most 12, loss ") for line in said)
    assert any(line.startswith("held out: step 8, conditional acceptance ") for line in said)
    assert [row["step"] for row in trained.report["history"]] == [4, 8, 12]
    assert trained.report["answers"] == 9
    assert trained.report["held_out_answers"] == 3
    assert 0 < trained.report["draft_vocabulary_coverage"] < 1
    assert trained.acceptance.total.steps > 0


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), OSError("killed")])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    tmp_path: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch, problem: BaseException
) -> None:
    """Bit by bit the same head, whether it could save at the end or only had its last checkpoint."""
    whole = training(tmp_path / "whole", recorded_beside(tmp_path, "whole", recorded)).run()
    (tmp_path / "parted").mkdir()
    with monkeypatch.context() as patched:
        interrupt_at(patched, problem, 7)
        with pytest.raises(type(problem)):
            training(tmp_path / "parted", recorded).run()
    said: list[str] = []
    parted = training(tmp_path / "parted", recorded, say=said.append).run()
    assert (
        said[1]
        == f"training: going on from step {7 if isinstance(problem, KeyboardInterrupt) else 6} of at most 12"
    )
    assert same(whole, parted)
    assert whole.report["history"] == parted.report["history"]


@pytest.mark.parametrize("measurement", [0, 2])
def test_a_training_interrupted_while_it_measures_measures_when_it_goes_on(
    tmp_path: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch, measurement: int
) -> None:
    """The first measurement and the last one: the best head is the one of an uninterrupted training."""
    whole = training(tmp_path / "whole", recorded_beside(tmp_path, "whole", recorded)).run()
    usual, calls = training_module.measure, iter(range(1000))

    def interrupted(*given: Any, **options: Any) -> Acceptance:
        if next(calls) == measurement:
            raise KeyboardInterrupt
        return usual(*given, **options)

    (tmp_path / "parted").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(training_module, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            training(tmp_path / "parted", recorded).run()
    parted = training(tmp_path / "parted", recorded).run()
    assert same(whole, parted)
    assert whole.report["history"] == parted.report["history"]
    assert whole.report["best_step"] == parted.report["best_step"] > 0


def recorded_beside(tmp_path: Path, name: str, recorded: Recorded) -> Recorded:
    """The same recording; makes the run's folder."""
    (tmp_path / name).mkdir()
    return recorded


def test_training_ends_when_acceptance_no_longer_rises(
    tmp_path: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And gives back the head of the best measurement, not the last one."""
    lengths: Iterator[int] = iter([11, 14, 13, 12, 15, 16])
    heads: list[list[torch.Tensor]] = []

    def measured(head: Any, *_: Any, **__: Any) -> Acceptance:
        heads.append([one.detach().clone() for one in head.parameters()])
        return Acceptance(4, {"qa": Counts([10] * 4, [1] * 4, 10, next(lengths))})

    monkeypatch.setattr(training_module, "measure", measured)
    learn = replace(LEARN, epochs=9, measure_steps=1, patience=2)
    trained = training(tmp_path, recorded, learn).run()
    assert [row["acceptance_length"] for row in trained.report["history"]] == [1.1, 1.4, 1.3, 1.2]
    assert trained.report["best_step"] == 2
    assert all(torch.equal(one, kept) for one, kept in zip(trained.head.parameters(), heads[1], strict=True))


def test_other_settings_or_answers_do_not_go_on(tmp_path: Path, recorded: Recorded) -> None:
    """The checkpoint says whose it is."""
    training(tmp_path, recorded).run()
    with pytest.raises(DraftError, match="other settings or answers"):
        training(tmp_path, recorded, replace(LEARN, rate=0.001)).run()


def test_a_loss_that_is_no_number_ends_the_training(
    tmp_path: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to change."""
    monkeypatch.setattr(training_module, "loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(DraftError, match="the loss is nan at step 0"):
        training(tmp_path, recorded).run()


def test_without_held_out_answers_nothing_is_trained(tmp_path: Path) -> None:
    """Nor without answers to learn from."""
    only = record_answers(tmp_path / "answers", [answer(1), answer(2)])
    with pytest.raises(DraftError, match="2 answers to learn from, 0 held out"):
        training(tmp_path, only)

"""The training: its prompts, its figures, what errors cost, and that it can be repeated."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.tasks import TASKS
from router.tasks import request_text
from training import cost, export, fitting, report
from training.data import Recipe, is_own, training_rows
from training.mixtures import mixtures
from training.report import Answer
from training.rows import Row, digest, user
from training.settings import Settings
from training.templates import expand, handwritten_rows, own_rows, slots, templates, turns

pytestmark = pytest.mark.unit

SMALL = Settings(recipe=Recipe(per_template=1, mixture_scale=0.05), bits=10, iterations=5, folds=2)
PUBLIC = [
    Row("code", "a", user("Write a function that sorts a list.")),
    Row("sql", "b", user("Which customers have no orders?")),
    Row("rag", "c", user("Read this.\n" + "A long text about harbours. " * 10 + "\nWhen?")),
    Row("chat", "d", user("hello")),
]


@pytest.fixture(scope="module")
def names() -> dict[str, list[str]]:
    return slots()


def test_a_template_has_one_of_its_parts() -> None:
    """Choices nest, slots are filled, other braces stay."""
    made = {expand('{a|b {x|y}} {n} {"k": 1}\\n', {"n": ["7"]}, Random(seed)) for seed in range(40)}
    assert made == {'a 7 {"k": 1}\n', 'b x 7 {"k": 1}\n', 'b y 7 {"k": 1}\n'}


def test_a_line_may_open_turns() -> None:
    """@@ marks the speaker; without it the line is the user's."""
    assert turns("hi") == [{"role": "user", "content": "hi"}]
    assert [turn["role"] for turn in turns("@@S a@@U b@@A c@@U d")] == [
        "system", "user", "assistant", "user",
    ]  # fmt: skip


def test_every_task_has_prompts_of_our_own(names: dict[str, list[str]]) -> None:
    """And every row ends with a user turn without an open slot."""
    rows = [*own_rows(names, per_template=2), *handwritten_rows(names, per_template=2)]
    assert {row.task for row in rows} == set(TASKS)
    assert all(row.messages[-1]["role"] == "user" for row in rows)
    assert not [row.turn for row in rows for name in names if f"{{{name}}}" in row.turn]


def test_labels_of_lines_that_name_one_are_tasks() -> None:
    """A typing error in a label would train a sixteenth task."""
    labels = {line.split(" | ", 1)[0] for file in ("followups", "handwritten") for line in templates(file)}
    assert labels <= set(TASKS) - {"other"}


def test_mixtures_keep_the_label_of_the_last_turn(names: dict[str, list[str]]) -> None:
    """Conversations, system prompts and injected orders change the request and not what it asks for."""
    public = [row for row in PUBLIC if row.task in {"code", "sql"}]
    made = list(mixtures(public, names, seed="x", scale=0.05))
    kinds = Counter(row.source.split("/")[1] for row in made)
    assert set(kinds) == {"changing", "alone", "continuing", "system", "misleading", "injected", "fields"}
    alone = [row for row in made if row.source.endswith("/alone")]
    assert all(row.task == next(p.task for p in public if p.turn == row.turn) for row in alone)


def test_training_rows_are_repeatable_and_balanced() -> None:
    """The same rows in the same order, every named task with the same weight."""
    first, second = (training_rows(PUBLIC, SMALL.recipe) for _ in range(2))
    assert digest(first) == digest(second)
    totals: Counter[str] = Counter()
    for row in first:
        totals[row.task] += row.weight
    named = [totals[task] for task in TASKS if task != "other"]
    assert max(named) == pytest.approx(min(named))


def test_nothing_of_a_left_out_source_is_trained_on() -> None:
    """Texts are taken from the rows that are given, and from no others."""
    rows = training_rows([row for row in PUBLIC if row.task != "rag"], SMALL.recipe)
    assert not any("harbours" in str(row.body) for row in rows if is_own(row))


def test_a_training_gives_the_same_bytes_again() -> None:
    """Same rows, same artefact; and what it answers is what scikit-learn's model would."""
    rows = training_rows(PUBLIC, SMALL.recipe)
    made = [
        export.artefact(fitting.fit(rows, SMALL), rows, SMALL, temperature=1.0, bar=0.0, figures={})
        for _ in range(2)
    ]
    assert made[0] == made[1]
    weights = fitting.fit(rows, SMALL)
    classifier = weights.classifier(SMALL)
    found = fitting.vectors(rows[:20])
    scores = fitting.matrix(found, replace(SMALL, dense_scale=1.0)) @ np.vstack(
        [weights.hashed, weights.dense]
    )
    for vector, expected in zip(found, scores + weights.bias, strict=True):
        np.testing.assert_allclose(classifier.scores(vector), expected, rtol=1e-3, atol=1e-3)


def test_sources_left_out_are_scored_by_weights_that_did_not_see_them() -> None:
    """Every public row gets a score, and calibration and bar come out of them."""
    left = fitting.leave_sources_out(PUBLIC, SMALL)
    weights = np.ones(len(PUBLIC))
    assert left.scores.shape == (len(PUBLIC), len(TASKS))
    at = fitting.temperature(left, weights)
    assert 0.1 < at < 8
    assert 0.0 <= fitting.bar(left, weights, at, SMALL) < 0.6


def test_figures_by_hand() -> None:
    """Two of three right: F1 of a is 2/3 and of b 2/3; sources weigh alike."""
    answers = [
        Answer("a", "a", "x", 0.9), Answer("a", "b", "y", 0.9), Answer("b", "b", "y", 0.9),
    ]  # fmt: skip
    assert report.macro_f1(answers) == pytest.approx(2 / 3)
    assert report.accuracy(answers) == pytest.approx(2 / 3)
    assert report.per_source(answers) == {"x": 1.0, "y": 0.5}
    assert report.calibration_error(answers) == pytest.approx(0.9 - 2 / 3)
    assert list(report.confusion_table(answers))[2:] == ["| a | 1 | 1 | 0.67 |", "| b |  | 1 | 0.67 |"]


@given(st.sampled_from(TASKS), st.sampled_from(TASKS), st.sampled_from(cost.TABLES))
def test_a_wrong_class_never_saves_time(truth: str, answer: str, table: cost.Table) -> None:
    """The right class is routed best under its own prior, so errors cost or are free."""
    assert cost.excess(table, truth, answer) >= -1e-12
    assert cost.excess(table, truth, truth) == 0.0


def test_what_a_wrong_class_costs_by_hand() -> None:
    """Only errors cost, and tasks weigh alike."""
    table = cost.TABLES[2]
    one = cost.excess(table, "creative", "sql")
    assert one > 0.1
    answers = {"creative": Counter(sql=1, creative=3), "sql": Counter(sql=5)}
    assert cost.expected_excess(table, answers) == pytest.approx(one / 4 / 2)


def test_own_rows_are_read_like_requests(names: dict[str, list[str]]) -> None:
    """Fields of a body reach the features."""
    fields = [row for row in mixtures(PUBLIC[:2], names, seed="x", scale=0.05) if len(row.body) > 1]
    assert fields
    assert all(
        request_text(row.body).has_tools or request_text(row.body).has_response_schema for row in fields
    )

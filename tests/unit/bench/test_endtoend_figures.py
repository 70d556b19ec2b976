"""The end-to-end bench's figures: paired ratios, their intervals, and the claims made of them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.endtoend.answers import Answer
from bench.endtoend.claims import claims
from bench.endtoend.figures import EVERYWHERE, Measured, Objective, figures, ratio
from bench.report.end_to_end import verdict

pytestmark = pytest.mark.unit

SPEED = {"vanilla": 1.0, "static-k4": 0.8, "adaptive": 0.75}
CREATIVE = {**SPEED, "static-k4": 1.25}
TASKS = ("code_editing", "creative")


def answer(side: str, task: str, number: int, *, noise: float = 1.0, tokens: int = 11) -> Answer:
    """One whose side is as fast as `SPEED` says, but for creative text, where static drafts cost."""
    speed = (CREATIVE if task == "creative" else SPEED)[side]
    total = noise * speed * (1 + number / 10)
    arm = {"k": 0 if task == "creative" else 4, "profile": "drafts", "route": "", "reason": ""}
    return Answer(f"{task}-{number}", task, 0.1 * total, total, tokens, **arm)  # type: ignore[arg-type]


def run(repeats: int = 3) -> list[Measured]:
    """All sides, on a machine whose noise falls on all of them alike."""
    return [
        Measured(
            repeat,
            "closed-2",
            "greedy",
            side,
            10.0,
            [answer(side, task, n, noise=1 + repeat) for n in range(4) for task in TASKS],
        )
        for repeat in range(repeats)
        for side in SPEED
    ]


def test_what_the_machine_does_besides_cancels() -> None:
    """Noise that falls on all sides of a repeat is in no ratio."""
    rows = {(row["side"], row["to"]): row["ratio"] for row in figures(run(), Objective())["ratios"]}
    assert rows["adaptive", "vanilla"] == pytest.approx((0.75,) * 3)
    assert set(rows) == {("static-k4", "vanilla"), ("adaptive", "vanilla"), ("adaptive", "static-k4")}


def test_tasks_are_told_apart() -> None:
    """A side that gains on one task may lose on another."""
    rows = {(row["task"], row["side"]): row for row in figures(run(), Objective())["tasks"]}
    assert rows["code_editing", "static-k4"]["to_vanilla"] == pytest.approx((0.8,) * 3)
    assert rows["creative", "static-k4"]["to_vanilla"] == pytest.approx((1.25,) * 3)
    assert rows["creative", "vanilla"]["to_vanilla"] is None


def test_only_answers_that_meet_the_objective_are_good() -> None:
    """Eight answers in ten seconds, of which those that took too long to begin do not count."""
    cells = {row["side"]: row for row in figures(run(1), Objective(0.105, 1.0))["cells"]}
    assert cells["vanilla"]["goodput_per_s"][0] == pytest.approx(0.2)
    assert cells["vanilla"]["tokens_per_s"][0] == pytest.approx(8.8)
    assert cells["vanilla"]["requests"] == 8


def test_what_was_chosen_is_counted_by_task() -> None:
    """Only of sides that chose."""
    arms = {(row["side"], row["task"]): row["arms"] for row in figures(run(1), Objective())["arms"]}
    assert arms["adaptive", "creative"] == {"drafts k=0": 4}
    assert arms["adaptive", "code_editing"] == {"drafts k=4": 4}


def test_claims_say_where_they_fail() -> None:
    """Adaptive beside the best fixed side and beside plain decoding."""
    found = {claim["claim"]: claim for claim in claims(figures(run(), Objective()))}
    best = next(claim for name, claim in found.items() if "best fixed side" in name)
    assert best["holds"]
    assert found["faster than plain on code editing"]["ratio"][0] == pytest.approx(0.75)
    slow = [block if block.side != "adaptive" else slower(block) for block in run()]
    failed = {claim["claim"] for claim in claims(figures(slow, Objective())) if not claim["holds"]}
    assert any("best fixed side" in name for name in failed)
    assert any("on no task more than 3 %" in name for name in failed)


def test_all_loads_are_looked_at_together() -> None:
    """Of sides that answered all of them: one load has few answers of a task."""
    sampled = [dataclasses.replace(block, sampling="sampled") for block in run() if block.side != "static-k4"]
    found = figures([*run(), *sampled], Objective())
    cells = {row["side"]: row for row in found["cells"] if (row["load"], row["sampling"]) == EVERYWHERE}
    assert {side: row["requests"] for side, row in cells.items()} == {"vanilla": 48, "adaptive": 48}
    ratios = [row for row in found["ratios"] if (row["load"], row["sampling"]) == EVERYWHERE]
    assert [row["ratio"] for row in ratios] == [pytest.approx((0.75,) * 3)]
    assert all(row["load"] != "all" for row in figures(run(), Objective())["cells"])


def test_what_is_within_the_noise_is_said() -> None:
    """A verdict is clear where the whole interval is on its side."""
    ratio = {"load": "closed-2", "sampling": "greedy", "side": "adaptive", "to": "vanilla"}
    cells = [{**ratio, "side": "vanilla", "per_token_s": [1.0, 1.0, 1.0]}]
    said = {}
    for interval in ((0.9, 0.8, 1.0), (1.01, 0.9, 1.1), (1.05, 0.99, 1.2), (1.2, 1.1, 1.3)):
        (claim,) = claims({"cells": cells, "ratios": [{**ratio, "ratio": interval}], "tasks": []})
        said[interval[0]] = verdict(claim)
    assert said == {
        0.9: "yes",
        1.01: "yes, within the noise",
        1.05: "no, within the noise",
        1.2: "**no**",
    }


def slower(block: Measured) -> Measured:
    """The same block, answered half as fast."""
    answers = [
        Answer(a.prompt, a.task, a.ttft_s, 2 * a.total_s, a.tokens, a.k, a.route, a.profile, a.reason)
        for a in block.answers
    ]
    return Measured(block.repeat, block.load, block.sampling, block.side, block.seconds, answers)


@settings(max_examples=20)
@given(st.lists(st.lists(st.floats(0.1, 10), min_size=3, max_size=3), min_size=1, max_size=4))
def test_an_interval_stays_within_the_answers_ratios(times: list[list[float]]) -> None:
    """A resampled ratio is never beyond the least and the greatest of the pairs."""

    def side(name: str, rows: list[list[float]]) -> dict[int, Measured]:
        return {
            repeat: Measured(
                repeat,
                "closed-2",
                "greedy",
                name,
                1.0,
                [Answer(f"p-{n}", "qa", 0.0, s, 5, 0, "", "", "") for n, s in enumerate(row)],
            )
            for repeat, row in enumerate(rows)
        }

    found = ratio(side("a", times), side("vanilla", [[1.0] * 3 for _ in times]))
    assert found is not None
    every = np.array(times)
    assert every.min() - 1e-9 <= found.low <= found.high <= every.max() + 1e-9
    assert ratio(side("a", times), {}) is None

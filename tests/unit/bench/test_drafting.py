"""Acceptance processes show what they were made for."""

import numpy as np
import pytest

from bench.simulate.drafting import CopyingDrafting, ModelDrafting, steps_at
from bench.simulate.scenarios import COPYING, SCENARIOS
from bench.simulate.truth import behaviour, task_loads
from bench.simulate.workload import Lengths, draw
from policies.evidence import counters, positions

pytestmark = pytest.mark.unit

# docs/decisions/0004: share of steps with a draft, and tokens per step.
MEASURED = {
    "math": (0.27, 2.26),
    "reasoning": (0.24, 1.94),
    "summarization": (0.29, 1.85),
    "translation": (0.28, 1.75),
    "rag": (0.29, 1.63),
    "extraction": (0.25, 1.63),
    "sql": (0.24, 1.47),
    "creative": (0.13, 1.38),
    "legal": (0.19, 1.35),
    "structured": (0.27, 1.25),
    "code": (0.15, 1.21),
    "chat": (0.19, 1.19),
    "qa": (0.15, 1.09),
    "support": (0.08, 1.08),
}


@pytest.mark.parametrize("task", MEASURED)
def test_copying_reproduces_the_measured_engine(task: str) -> None:
    """Coverage of the first position and acceptance length are those measured with n-gram k = 8."""
    known = behaviour(COPYING[task], Lengths(64, 0.0, 64, 64), 64, 8)
    proposing, length = MEASURED[task]
    assert known.proposing[8] == pytest.approx(proposing, abs=0.04)
    assert known.lengths[8] == pytest.approx(length, rel=0.07)


def test_copying_is_bursty() -> None:
    """Later positions are accepted more often than the first: a copied run goes on."""
    rng = np.random.default_rng(0)
    total: dict[str, float] = {}
    for _ in range(200):
        steps = steps_at(COPYING["rag"].drafts(128, 8, rng), 128, 8)
        for name, count in counters(steps).items():
            total[name] = total.get(name, 0.0) + count
    rates = [accepted / proposed for _, proposed, accepted in positions(total)]
    assert rates[3] > rates[0] + 0.1


def test_a_model_accepts_by_its_alpha() -> None:
    """Conditional acceptance at every position is alpha times the fade, whoever looks."""
    rng = np.random.default_rng(1)
    alike = ModelDrafting(0.6, concentration=1e6, fade=0.95)
    total: dict[str, float] = {}
    for _ in range(300):
        for name, count in counters(steps_at(alike.drafts(256, 4, rng), 256, 4)).items():
            total[name] = total.get(name, 0.0) + count
    rates = [accepted / proposed for _, proposed, accepted in positions(total)]
    assert rates == pytest.approx([0.6 * 0.95**i for i in range(4)], abs=0.02)


def test_requests_of_a_task_differ() -> None:
    """A request's own acceptance scatters around its task's, as the Beta says."""
    rng = np.random.default_rng(2)
    drafting = ModelDrafting(0.6, concentration=12, fade=1.0)
    rates = []
    for _ in range(300):
        steps = steps_at(drafting.drafts(512, 1, rng), 512, 1)
        rates.append(steps.accepted / steps.drafted)
    assert np.std(rates) == pytest.approx(np.sqrt(0.6 * 0.4 / 13), rel=0.15)


def test_the_last_step_is_clipped_to_what_the_answer_keeps() -> None:
    """Decode steps leave exactly the tokens after the first one, at every k."""
    rng = np.random.default_rng(3)
    for drafting in (ModelDrafting(0.9), CopyingDrafting(0.7, 16, 0.1)):
        for tokens in (2, 3, 17, 64):
            drafts = drafting.drafts(tokens, 8, rng)
            assert all(steps_at(drafts, tokens, k).decode_tokens == tokens - 1 for k in range(9))


def test_drift_changes_the_process_when_it_says() -> None:
    """Requests before, during and after a fall accept by the acceptance of their time."""
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == "drift")
    (load,) = {load for (_, task), load in task_loads(scenario.traffic).items() if task == "code"}
    (fall_s, fallen), (rise_s, _) = load.drifts
    assert load.drafting_at(fall_s) is fallen
    workload = [request for request in draw(scenario.traffic, 3000, 0) if request.task == "code"]

    def length(from_s: float, until_s: float) -> float:
        steps = [
            steps_at(request.drafts, request.output_tokens, 4)
            for request in workload
            if from_s <= request.arrival_s < until_s
        ]
        return sum(each.decode_tokens for each in steps) / sum(each.steps for each in steps)

    assert length(0, fall_s) > length(fall_s, rise_s) + 0.7
    assert length(rise_s, 1e9) == pytest.approx(length(0, fall_s), rel=0.05)

"""From which load on plain decoding alone is faster."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.acceptance import Estimate
from policies.cost import StepTime
from policies.decide import Work
from policies.savings import BreakEven, Capacity, Drafts, EnginePool, capacity, capacity_entry, statement

pytestmark = pytest.mark.unit

PLAIN = StepTime(0.010, per_request=0.0002)
WORK = Work(100.0, 101.0)


def drafts(alpha: float = 0.7, *, spread: float = 0.0, steps: float = 1000.0, task: str = "code") -> Drafts:
    """Drafts that are all proposed and accepted with probability `alpha` each."""
    return Drafts(task, 1.0, Estimate((alpha,), (1.0,), (spread,), 4, evidence_steps=steps, max_k=8))


def pools(per_drafted: float, *, steps: float = math.inf, slots: int = 64) -> list[EnginePool]:
    """A plain pool, and one on the same machine whose drafts take `per_drafted` seconds each to verify."""
    drafting = PLAIN._replace(per_drafted=per_drafted)
    return [
        EnginePool("vanilla", PLAIN, 0.0, steps, slots),
        EnginePool("ngram", drafting, 0.0, steps, slots, max_k=4),
    ]


def test_the_load_is_where_both_take_equally_long() -> None:
    """By hand: b drafts of k = 1 lengthen a pass by 0.4 ms each, and a step makes 1.7 tokens."""
    found = capacity(
        [pools(0.0004)[0], pools(0.0004)[1]._replace(max_k=1)], {"ngram": [drafts()]}, WORK
    ).whole
    # (10 + 0.2 b + 0.4 b) / 1.7 = 10 + 0.2 b at b = 7 / 0.26 = 26.9
    assert (found.status, found.batch, found.profile, found.k) == ("from", 27, "ngram", 1)
    assert found.batch_interval == (27, 27)
    assert found.requests_per_s == pytest.approx(27 / (100 * (0.010 + 27 * 0.0002)))


def test_free_drafts_are_always_worth_it() -> None:
    """Within the engine's slots there is no such load then."""
    found = capacity(pools(0.0), {"ngram": [drafts()]}, WORK)
    assert found.whole.status == "never"
    assert statement(found, confidence=0.95).startswith("Up to the 64 requests an engine decodes at once")


def test_passes_that_are_said_to_take_nothing_break_nothing() -> None:
    """A fit may put all of their time down to drafts."""
    nothing = StepTime(0.0, 0.0, 0.0, 0.0, 0.001, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    pool = EnginePool("ngram", nothing, 0.0, math.inf, 8, max_k=4)
    assert capacity([pool], {"ngram": [drafts()]}, WORK).whole.status == "always"


def test_useless_drafts_never_are() -> None:
    """Plain decoding is faster for a single request already."""
    found = capacity(pools(0.01), {"ngram": [drafts(0.01)]}, WORK)
    assert (found.whole.status, found.whole.batch) == ("always", 1)
    assert "at every load" in statement(found, confidence=0.95)


@pytest.mark.parametrize(
    "found",
    [
        capacity(pools(0.0004, steps=3.0), {"ngram": [drafts()]}, WORK),
        capacity(pools(0.0004), {"ngram": [drafts(steps=3.0)]}, WORK),
        capacity(pools(0.0004), {}, WORK),
        capacity(pools(0.0004)[:1], {"ngram": [drafts()]}, WORK),
    ],
)
def test_nothing_is_stated_that_was_not_measured(found: Capacity) -> None:
    """Passes and acceptance have to come from somewhere."""
    assert found == Capacity(BreakEven("unknown"), {})
    assert "No capacity statement yet" in statement(found, confidence=0.95)


@given(st.floats(0.1, 0.95), st.floats(0.00005, 0.002), st.floats(0.0, 0.1))
def test_the_interval_has_the_estimate_inside(alpha: float, per_drafted: float, spread: float) -> None:
    """And surer acceptance makes it narrower."""
    found = capacity(pools(per_drafted), {"ngram": [drafts(alpha, spread=spread)]}, WORK).whole
    assert found.batch_interval is not None
    low, high = (math.inf if bound is None else bound for bound in found.batch_interval)
    assert low <= (found.batch or math.inf) <= high
    sure = capacity(pools(per_drafted), {"ngram": [drafts(alpha)]}, WORK).whole
    assert sure.batch_interval is not None
    assert sure.batch_interval[0] == sure.batch_interval[1] == sure.batch


@given(st.floats(0.1, 0.9), st.floats(0.00005, 0.002))
def test_better_drafts_pay_up_to_a_higher_load(alpha: float, per_drafted: float) -> None:
    """And a mix of tasks lies between its tasks."""
    tasks = [drafts(alpha, task="a"), drafts(min(0.99, alpha + 0.1), task="b")]
    found = capacity(pools(per_drafted), {"ngram": tasks}, WORK)
    worse, better = (found.tasks[name].batch or math.inf for name in ("a", "b"))
    assert worse <= (found.whole.batch or math.inf) <= better


def test_the_entry_says_it_in_words_and_numbers() -> None:
    """With the basis, and each task."""
    found = capacity(pools(0.0004), {"ngram": [drafts()]}, WORK)
    entry = capacity_entry(found, WORK, confidence=0.95)
    assert entry["statement"].startswith(f"From {entry['batch']} requests at once per engine on")
    assert entry["basis"] == {"steps": 1000, "output_tokens": 101.0, "prompt_tokens": 100.0}
    assert [one["task"] for one in entry["tasks"]] == ["code"]

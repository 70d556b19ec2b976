"""Adaptive mode: the least expected cost, left vanilla only with confidence, damped and explained."""

from __future__ import annotations

from typing import Any

import pytest
from deciding import DRAFT, NGRAM, VANILLA, accepting, arm, context, policy

from policies.cost import StepLoad
from policies.decide import Context, Decision, Last, Reason, Work, decide

pytestmark = pytest.mark.unit


def adaptive(alpha: float = 0.8, *, spread: float = 0.01, spec: Any = None, **changes: Any) -> Context:
    values = {
        "policy": policy(mode="adaptive", **(spec or {})),
        "estimates": {"ngram": accepting(alpha, spread=spread)},
        **changes,
    }
    return context(alpha, **values)


def decided(alpha: float = 0.8, **changes: Any) -> Decision:
    return decide(adaptive(alpha, **changes))


def test_a_sure_gain_is_taken_and_a_sure_loss_is_not() -> None:
    """The cheap pool breaks even near alpha 0.1."""
    gain, loss = decided(0.5), decided(0.02)
    assert (gain.route, gain.reason, gain.settled) == ("speculative", Reason.GAIN, "speculative")
    assert gain.expected_speedup is not None
    assert gain.expected_speedup > 1.3
    assert (gain.confidence, gain.propensity) == (pytest.approx(1.0), 1.0)
    assert (arm(loss), loss.reason, loss.settled) == (("vanilla", 0), Reason.NO_GAIN, "vanilla")


def test_vanilla_is_left_only_for_min_speedup_with_confidence() -> None:
    """The same mean, less well known: it would probably gain, and stays."""
    sure, unsure = decided(0.25, spread=0.01), decided(0.25, spread=0.15)
    assert sure.reason is Reason.GAIN
    assert (unsure.route, unsure.reason) == ("vanilla", Reason.UNCERTAIN)
    assert unsure.expected_speedup == pytest.approx(sure.expected_speedup, rel=0.1)
    assert unsure.confidence is not None
    assert 0.5 < unsure.confidence < 0.9
    bold = {"objective": {"min_speedup": 1.0, "confidence": 0.5}}
    assert decided(0.25, spread=0.15, spec=bold).reason is Reason.GAIN


def test_inside_the_band_the_last_choice_stands() -> None:
    """Faster, but not surely: speculation goes on where it was on, and is not begun where it was off."""
    on = decided(0.25, spread=0.15, last=Last("speculative"))
    off = decided(0.25, spread=0.15, last=Last("vanilla"))
    assert (on.route, on.reason) == ("speculative", Reason.HYSTERESIS)
    assert (off.route, off.reason) == ("vanilla", Reason.UNCERTAIN)


def test_a_small_loss_right_after_a_change_is_borne() -> None:
    """Dwell: what changed a moment ago changes back for a difference that matters only."""
    slightly_worse, much_worse = 0.08, 0.0
    assert decided(slightly_worse, last=Last("speculative", age_s=1.0)).reason is Reason.HYSTERESIS
    assert decided(slightly_worse, last=Last("speculative", age_s=60.0)).route == "vanilla"
    assert decided(much_worse, last=Last("speculative", age_s=1.0)).route == "vanilla"


def test_the_pool_and_the_k_with_the_least_cost_are_taken() -> None:
    """Several profiles compete, each at its own best k."""
    pools = (VANILLA, NGRAM, DRAFT)
    close = {"ngram": accepting(0.6), "draft": accepting(0.6)}
    assert decided(pools=pools, estimates=close).profile == "ngram"  # its drafts cost nothing
    apart = {"ngram": accepting(0.3), "draft": accepting(0.8)}
    taken = decided(pools=pools, estimates=apart)
    assert taken.profile == "draft"
    assert taken.score in taken.scores
    best = min(taken.scores, key=lambda score: score.cost_s)
    assert taken.score == best
    assert {(score.profile, score.k) for score in taken.scores} == {
        ("vanilla", 0), ("ngram", 0), ("draft", 0),
        *(("ngram", k) for k in range(1, 6)), *(("draft", k) for k in range(1, 9)),
    }  # fmt: skip


def test_a_large_batch_is_not_made_to_wait_for_drafts() -> None:
    """Where verifying costs by the token, what a request gains its neighbours lose."""
    costly = NGRAM._replace(step_time=NGRAM.step_time._replace(per_drafted=0.004), capacity=64)
    alone, crowded = costly._replace(in_flight=0), costly._replace(in_flight=32)
    assert decided(0.6, pools=(alone,)).route == "speculative"
    assert decided(0.6, pools=(crowded,)).route == "vanilla"


def test_requests_of_like_k_seek_each_other() -> None:
    """The largest k of a batch is everybody's drafter cost: with others who ask for 8, more is free."""
    slow = DRAFT.step_time._replace(per_asked=0.006)
    asking = {
        k: DRAFT._replace(
            step_time=slow,
            in_flight=4,
            length=8.0,
            work=StepLoad(requests=4, verifying=1.0, drafted=4.0 * k, asked=k),
        )
        for k in (2, 8)
    }
    lone = {"estimates": {"draft": accepting(0.7)}}
    assert decided(pools=(asking[2],), **lone).k < decided(pools=(asking[8],), **lone).k


def test_a_full_pool_costs_its_wait() -> None:
    """A long queue sends requests to the slower pool, a short one does not; the reason says saturated."""
    full = NGRAM._replace(in_flight=8, residence_s=1.0, length=16.0)
    queue = NGRAM._replace(in_flight=80, residence_s=5.0, length=160.0)
    patient = {"objective": {"ttft": "10m"}}
    assert decided(0.6, pools=(VANILLA, full), spec=patient).route == "speculative"
    away = decided(0.6, pools=(VANILLA, queue), spec=patient)
    assert (away.profile, away.reason) == ("vanilla", Reason.SATURATED)


def test_a_conversation_stays_where_its_prefix_is_cached() -> None:
    """Unless the gain beats reading the prompt again."""
    time = NGRAM.step_time._replace(per_prefill=0.001)
    pools = (VANILLA._replace(step_time=time), NGRAM._replace(step_time=time))
    short = Work(prompt_tokens=4000, output_tokens=32, cached={"vanilla": 3900.0})
    long = Work(prompt_tokens=4000, output_tokens=2000, cached={"vanilla": 3900.0})
    patient = {"objective": {"ttft": "10m"}}
    stays = decided(0.5, pools=pools, work=short, spec=patient)
    assert (stays.profile, stays.reason) == ("vanilla", Reason.AFFINITY)
    assert decided(0.5, pools=pools, work=long, spec=patient).profile == "ngram"
    kept = Work(prompt_tokens=4000, output_tokens=32, cached={"ngram": 3900.0})
    plainly = decided(0.0, pools=pools, work=kept, spec=patient)
    assert (arm(plainly), plainly.reason) == (("ngram", 0), Reason.AFFINITY)


def test_objectives_come_before_speed() -> None:
    """The faster arm is not taken where it would miss the objective for the time per token, and the other not."""
    tight = {"objective": {"tpot": "28ms"}}
    helped = decided(0.25, spread=0.15, spec=tight)
    assert (helped.route, helped.reason) == ("speculative", Reason.OBJECTIVE)
    assert decided(0.25, spread=0.15, spec={"objective": {"tpot": "10ms"}}).reason is Reason.UNCERTAIN
    batch = {"objective": {"tpot": "25ms", "class": "batch"}}
    assert decided(0.25, spread=0.15, spec=batch).reason is Reason.UNCERTAIN


def test_batch_class_counts_tokens_per_second_and_interactive_counts_seconds() -> None:
    """Plain arms on one busy engine: what they add to its rate, and what they take and their neighbours lose."""
    time = NGRAM.step_time._replace(per_request=0.002)
    busy = NGRAM._replace(step_time=time, in_flight=4, length=8.0, work=StepLoad(requests=4))
    before, after = time.seconds(StepLoad(requests=4)), time.seconds(StepLoad(requests=5))
    work = Work(prompt_tokens=1, output_tokens=101)

    def plain(objective: str) -> float:
        taken = decided(0.0, pools=(busy,), work=work, spec={"objective": {"class": objective}})
        assert taken.score is not None
        return taken.score.cost_s - taken.score.ttft_s

    added = 9.0 / after - 8.0 / before
    assert plain("batch") == pytest.approx(100 / added)
    read = time.seconds(StepLoad(requests=4, prefill=1)) - before
    assert plain("interactive") == pytest.approx(100 * (after + 4 * (after - before)) + 4 * read)


def test_the_costs_error_lowers_confidence() -> None:
    """A step-time model that has been wrong by a third is no ground for leaving vanilla."""
    doubtful = NGRAM._replace(cost_error=0.33)
    assert decided(0.3).reason is Reason.GAIN
    assert decided(0.3, pools=(VANILLA, doubtful)).reason is Reason.UNCERTAIN


def test_thin_evidence_is_called_a_cold_start() -> None:
    """With the same arms compared."""
    cold = decided(estimates={"ngram": accepting(0.5, steps=10)})
    assert (cold.route, cold.reason) == ("speculative", Reason.COLD_START)


def test_where_a_pools_crowd_voted_for_drafts_its_requests_need_no_guard() -> None:
    """The drafter works for everybody anyway; who decodes plainly there only stays longer in the others' way."""
    pool = DRAFT._replace(in_flight=4, length=6.0, work=StepLoad(requests=4, verifying=1, drafted=4, asked=1))
    unsure = {"draft": accepting(0.3, spread=0.2)}
    alone = decided(pools=(pool,), estimates=unsure)
    assert (alone.route, alone.reason) == ("vanilla", Reason.UNCERTAIN)
    voted = decided(pools=(pool._replace(cap=1),), estimates=unsure)
    assert (voted.route, voted.reason, voted.k) == ("speculative", Reason.GAIN, 1)
    beside_a_plain_pool = decided(pools=(VANILLA, pool._replace(cap=1)), estimates=unsure)
    assert beside_a_plain_pool.route == "vanilla"

"""A log replayed: decisions come out as they were, and what the log cannot tell is not told."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from deciding import context, policy
from hypothesis import given
from hypothesis import strategies as st
from simulated_logs import LOGGING, START_S, line, record, situations, table

from policies.cost import StepTime
from policies.decide import Context, Decision, Last, decide
from policies.off_policy import DecisionRecord, logged_context, replay
from policies.off_policy.clusters import clusters
from policies.off_policy.contexts import context_of, last_of
from policies.off_policy.estimator import interval, student
from policies.off_policy.record import LoggedContext
from policies.off_policy.redecide import chances_of, redecided

pytestmark = pytest.mark.unit

ONE_K: dict[str, Any] = {**LOGGING, "k": {"mode": "fixed", "default": 4}}


def logged(number: int = 400, /, seed: int = 0, *, spec: Any = None, **changes: Any) -> list[DecisionRecord]:
    """A log of situations, each of a tenant of its own, decided by `spec`; all took what was predicted."""
    met = situations(number, table(**(spec or LOGGING)), seed)
    return [
        record(i, task, d, **{"tenant": f"t{i}", **_times(d), **changes})
        for i, (task, d) in enumerate(_decided(met))
    ]


def _decided(met: list[tuple[str, Context]]) -> Iterator[tuple[str, Decision]]:
    return ((task, decide(one)) for task, one in met)


def _times(decision: Decision) -> dict[str, float]:
    score = decision.score
    assert score is not None
    assert decision.context is not None
    per_token_s = score.decode_s / (decision.context.work.output_tokens - 1)
    return {"engine_ttft_s": score.wait_s + score.ttft_s, "decode_s": 100 * per_token_s}


@pytest.mark.parametrize("mode", ["adaptive", "threshold", "shadow", "always_vanilla", "always_speculative"])
def test_a_logged_decision_comes_out_as_it_was(mode: str) -> None:
    """Arm, reason and every chance, from what the line has and the policy that was in force."""
    spec = {**LOGGING, "mode": mode}
    for task, met in situations(150, table(**spec), 3):
        decision = decide(met)
        logged_line = record(0, task, decision)
        again = decide(context_of(logged_line.context, met.policy, last_of(logged_line.context)))
        assert (again.profile, again.k, again.reason) == (decision.profile, decision.k, decision.reason)
        assert chances_of(again) == pytest.approx(chances_of(decision), rel=1e-6)


@given(
    holdout=st.floats(0, 1),
    share=st.floats(0, 1),
    draws=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3),
    alpha=st.floats(0, 1),
)
def test_chances_add_up_to_one(
    holdout: float, share: float, draws: tuple[float, float, float], alpha: float
) -> None:
    """And that of the taken arm is the propensity."""
    rules = policy(
        mode="adaptive", holdout={"share": holdout}, exploration={"share": share, "max_share": 1.0}
    )
    decision = decide(context(alpha, policy=rules, draws=draws))
    chances = chances_of(decision)
    assert math.fsum(chances.values()) == pytest.approx(1.0)
    assert chances[decision.profile, decision.k] == decision.propensity


def test_the_logged_policy_itself_changes_nothing() -> None:
    """Not even by chance: what both would do alike cancels."""
    found = replay(logged(), table(**LOGGING))
    assert found.tells
    assert found.overall.speculative.change == pytest.approx((0, 0, 0), abs=1e-9)
    for effect in found.overall.measures.values():
        assert effect.change == pytest.approx((0, 0, 0), abs=1e-6)
        assert effect.changed == pytest.approx(0, abs=1e-6)


def test_answers_of_one_token_tell_of_their_first_token_only() -> None:
    """They decode nothing, so there is no decode time that a candidate could change by a share of it."""
    short = [
        one.model_copy(update={"completion_tokens": 1, "decode_s": 0.0}) if one.task == "qa" else one
        for one in logged()
    ]
    found = replay(short, table(**LOGGING))
    assert found.tasks["qa"].measures.keys() == {"total_s"}
    assert found.tasks["code"].measures.keys() == {"total_s", "decode_s", "tpot_s"}


def test_tasks_add_up_to_the_whole() -> None:
    """Each task has its own effect, and requests of one task are not those of another."""
    found = replay(logged(1200, spec=ONE_K), table(**{**ONE_K, "mode": "always_speculative"}))
    assert found.tasks.keys() == {"code", "qa", "creative", "chat"}
    assert sum(part.requests for part in found.tasks.values()) == found.overall.requests == 1200
    changes = {task: part.measures["total_s"].change for task, part in found.tasks.items()}
    assert changes["code"].high < 0 < changes["creative"].low
    assert all(part.speculative.change.estimate > 0 for part in found.tasks.values())
    assert (found.routers, found.first_s, found.last_s) == (1, START_S, START_S + 1199)


def test_a_log_without_overlap_does_not_tell() -> None:
    """Where chance never did what the candidate would do, there is nothing to compare with."""
    calm = {"mode": "adaptive", "exploration": {"share": 0.0, "max_share": 0.0}}
    found = replay(logged(spec=calm), table(mode="always_speculative"))
    assert not found.tells
    assert "never or hardly ever" in found.overall.doubts[0]
    # What the candidate would choose is known all the same.
    assert found.overall.speculative.logged + found.overall.speculative.change.estimate == pytest.approx(1.0)


def test_a_log_that_hardly_saw_the_difference_does_not_tell() -> None:
    """A few lucky requests are no evidence."""
    rare = {**ONE_K, "exploration": {"share": 0.02, "max_share": 0.04}, "holdout": {"share": 0.0}}
    found = replay(logged(120, spec=rare), table(**{**rare, "mode": "always_speculative"}))
    assert not found.tells


def test_a_short_log_does_not_tell() -> None:
    """With the number of requests there are."""
    found = replay(logged(20), table(**LOGGING))
    assert "only 20 requests" in found.overall.doubts[0]


def test_shadow_logs_tell_the_route_share_only() -> None:
    """Everything was served plainly: how drafts would have done was not seen."""
    shadow = {**LOGGING, "mode": "shadow"}
    found = replay(logged(spec=shadow), table(**{**LOGGING, "mode": "adaptive"}))
    assert not found.tells
    assert found.overall.speculative.logged == 0
    assert found.overall.speculative.change.low > 0.1


def test_requests_without_a_time_of_their_own_arm_are_left_out() -> None:
    """Failed, cancelled and failed-over ones count as shares only, and many of them are mentioned."""
    records = logged()
    records += logged(30, result="failed") + logged(10, result="cancelled") + logged(10, failovers=1)
    found = replay(records, table(**LOGGING))
    assert found.left_out == {"failed": 30, "cancelled": 10, "failed over": 10}
    assert found.overall.measures["total_s"].requests == 400
    assert "50 of 450" in found.notes[0]


def test_other_evidence_is_mentioned() -> None:
    """What the candidate would have believed of the same counts is not in the log."""
    candidate = table(**LOGGING, acceptance={"half_life": "1h"})
    (note,) = replay(logged(100), candidate).notes
    assert "100 requests" in note


def test_lines_stand_for_as_many_requests_as_they_were_sampled_from() -> None:
    """A tenth of the requests with a weight of ten says what all of them say."""
    candidate = table(**{**ONE_K, "mode": "always_speculative"})
    speculative, vanilla = (
        [one for one in logged(800, spec=ONE_K) if (one.k > 0) == drafts] for drafts in (True, False)
    )
    sampled = [one.model_copy(update={"sample": 0.5}) for one in vanilla[::2]]
    whole, part = (
        replay(records, candidate).overall.speculative.logged
        for records in (speculative + vanilla, speculative + sampled)
    )
    assert part == pytest.approx(whole, abs=0.03)


def test_hysteresis_follows_the_candidates_own_choices() -> None:
    """Inside the band the candidate's last choice stands, not that of the policy in force."""
    band = {"mode": "threshold", "threshold": {"enable_above": 0.6, "disable_below": 0.3}}
    candidate = table(**band, exploration={"share": 0.0, "max_share": 0.0})
    never = table(mode="always_vanilla")
    records = []
    for number, alpha in enumerate((0.8, 0.45, 0.45)):
        rules = never.resolve(tenant="acme", task="code", now_s=START_S)
        records.append(record(number, "code", decide(context(alpha, policy=rules, last=Last("vanilla")))))
    routes = [
        max(one.candidate, key=one.candidate.__getitem__)[1] > 0 for one in redecided(records, candidate)
    ]
    assert routes == [True, True, True]
    # Without the first of them the log's own last choice stands.
    (first, *_) = redecided(records[1:], candidate)
    assert max(first.candidate)[1] == 0


def test_where_hysteresis_began_is_mentioned() -> None:
    """A candidate that is never sure keeps what the log chose last; begun anew it would not."""
    wide = {"mode": "threshold", "threshold": {"enable_above": 0.95, "disable_below": 0.01}}
    rules = table(mode="always_vanilla").resolve(tenant="acme", task="code", now_s=START_S)
    records = [
        record(number, "code", decide(context(0.5, policy=rules, last=Last("speculative"))))
        for number in range(20)
    ]
    found = replay(records, table(**wide, exploration={"share": 0.0, "max_share": 0.0}))
    assert found.overall.speculative.change.estimate == pytest.approx(1.0)
    assert "for 20 of 20 requests" in found.notes[0]


def test_turns_of_a_conversation_are_one_cluster() -> None:
    """A turn follows the one whose end it names; requests without turns stand alone."""
    decision = decide(context())
    turns = [(None, "a"), ("a", "b"), (None, None), ("b", "c"), ("x", "y"), (None, "a")]
    records = [
        record(number, "qa", decision, turn=turn, tenant="t", decided_at=START_S + 40 * number)
        for number, turn in enumerate(turns)
    ]
    assert clusters(records, "conversation") == [0, 0, 1, 0, 2, 3]
    assert clusters(records, "tenant") == [0] * 6
    assert clusters(records, "minute") == [0, 1, 1, 2, 3, 3]


def test_one_cluster_does_not_tell() -> None:
    """All requests of one tenant, and tenants are what may go alike."""
    found = replay(logged(tenant="acme"), table(**LOGGING), by="tenant")
    assert found.overall.doubts[0] == "all requests are of one cluster"


def test_nothing_to_replay() -> None:
    """An empty log is said to be one."""
    with pytest.raises(ValueError, match="no decision"):
        replay([], table())


@pytest.mark.parametrize(
    ("confidence", "freedom", "quantile"),
    [(0.95, 3, 3.182), (0.95, 10, 2.228), (0.90, 5, 2.015), (0.99, 30, 2.750), (0.95, math.inf, 1.960)],
)
def test_students_quantiles(confidence: float, freedom: float, quantile: float) -> None:
    """As in the tables, within a hundredth."""
    assert student(confidence, freedom) == pytest.approx(quantile, rel=0.011)


def test_what_goes_alike_widens_the_interval() -> None:
    """The same hundred numbers say less where ten of them always agree."""
    values = np.repeat(np.random.default_rng(1).standard_normal(10), 10) / 100
    alone = interval(0.0, values, np.arange(100), 0.95)
    together = interval(0.0, values, np.arange(100) // 10, 0.95)
    assert together.high > 2.5 * alone.high
    assert interval(0.0, values, np.zeros(100, dtype=np.int64), 0.95).high == math.inf


def test_unknown_keys_are_passed_over_and_known_ones_checked() -> None:
    """Later writers may add some; what is there must be right."""
    decision = decide(context())
    assert record(0, "qa", decision, more=1).task == "qa"
    with pytest.raises(ValueError, match="propensity"):
        record(0, "qa", decision, propensity=None)
    with pytest.raises(ValueError, match="v\n"):
        record(0, "qa", decision, v=2)
    without = line(0, "qa", decision)
    del without["chances"]
    with pytest.raises(ValueError, match="chances"):
        DecisionRecord.model_validate(without)


def test_only_step_times_can_be_logged() -> None:
    """Whatever else times passes has no coefficients to write down."""

    class Clockwork:
        def seconds(self, load: object) -> float:
            return 1.0

    one = context()
    pool = one.pools[0]._replace(step_time=Clockwork())
    with pytest.raises(TypeError, match="StepTime"):
        logged_context(replace(one, pools=(pool,)))


def test_a_later_versions_coefficients_do_no_harm() -> None:
    """A step time with one more than are known here is read without it."""
    values = logged_context(context())
    values["pools"][0]["step_time"].append(0.5)
    parsed = LoggedContext.model_validate(values, strict=False)
    pool = context_of(parsed, policy(), None).pools[0]
    assert isinstance(pool.step_time, StepTime)

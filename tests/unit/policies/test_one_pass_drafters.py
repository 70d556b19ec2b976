"""Drafters whose tokens all come from one pass work for all of them, whatever a request asks for."""

from __future__ import annotations

import pytest
from deciding import DRAFT, MODEL, VANILLA, accepting, arm, context, policy
from hypothesis import given
from hypothesis import strategies as st

from policies.cost import Calibrated, StepLoad, StepTime
from policies.crowds import Crowds
from policies.decide import Pool, Score, Work, decide
from policies.decide.pricing import Engine
from policies.off_policy.contexts import context_of, logged_context
from policies.off_policy.record import LoggedContext
from policies.savings import Drafts, EnginePool, capacity
from policies.suggest import Evidence
from policies.suggest.break_even import break_even

pytestmark = pytest.mark.unit

K = DRAFT.max_k
BLOCK = DRAFT._replace(least_asked=K)


def scored(pool: Pool, alpha: float = 0.7) -> list[Score]:
    estimate = accepting(alpha)
    case = context(policy=policy(mode="adaptive"), pools=(pool,), estimates={pool.profile: estimate})
    return Engine(case, pool).scores(range(K + 1), estimate)


def test_every_arm_pays_for_the_whole_block() -> None:
    """By hand, for a request alone: plain decoding beside the drafter, and every k."""
    work, estimate = Work(), accepting(0.7)
    for score in scored(BLOCK):
        load = StepLoad(
            requests=1,
            verifying=estimate.proposing[score.k],
            drafted=estimate.drafted[score.k],
            asked=K,
            context=work.prompt_tokens + work.output_tokens / 2,
        )
        steps = (work.output_tokens - 1) / estimate.lengths[score.k]
        assert score.decode_s == pytest.approx(steps * MODEL.seconds(load))


@given(
    in_flight=st.integers(0, 12),
    asked=st.integers(0, K),
    cap=st.none() | st.integers(0, K),
    crowding=st.floats(1, 5),
    overloaded=st.booleans(),
    alpha=st.floats(0.05, 0.95),
)
def test_it_is_priced_as_if_every_pass_took_longer_by_the_block(
    *, in_flight: int, asked: int, cap: int | None, crowding: float, overloaded: bool, alpha: float
) -> None:
    """Whatever the batch asks for: what is always worked for is a part of any pass."""
    load = StepLoad(in_flight, 0.5, 2.0 * in_flight, asked, 300.0 * in_flight)
    crowd = {"in_flight": in_flight, "work": load, "length": 2.0 * in_flight, "cap": cap}
    pool = BLOCK._replace(**crowd, crowding=crowding, overloaded=overloaded)
    longer = MODEL._replace(base=MODEL.base + K * MODEL.per_asked, per_asked=0.0)
    same = pool._replace(step_time=longer)
    for found, expected in zip(scored(pool, alpha), scored(same, alpha), strict=True):
        assert found.cost_s == pytest.approx(expected.cost_s)


@given(alpha=st.floats(0.05, 0.95), in_flight=st.integers(0, 7))
def test_no_arm_decodes_faster_than_where_less_is_asked(alpha: float, in_flight: int) -> None:
    """As fast at the largest k, slower below. Neighbours lose less by it: they wait for the block anyway."""
    pools = [pool._replace(in_flight=in_flight, length=float(in_flight)) for pool in (BLOCK, DRAFT)]
    block, one_by_one = (scored(pool, alpha) for pool in pools)
    assert all(a.decode_s >= b.decode_s * (1 - 1e-9) for a, b in zip(block, one_by_one, strict=True))
    assert block[K].decode_s == pytest.approx(one_by_one[K].decode_s)
    assert block[0].decode_s > one_by_one[0].decode_s


def test_plain_requests_leave_the_pool_and_drafting_ones_take_more() -> None:
    """Beside a plain pool; a larger k is free but for verifying it."""
    adaptive = policy(mode="adaptive")
    ks = []
    for pool in (DRAFT, BLOCK):
        made = decide(context(policy=adaptive, pools=(VANILLA, pool), estimates={"draft": accepting(0.85)}))
        ks.append(made.k)
        poor = context(policy=adaptive, pools=(VANILLA, pool), estimates={"draft": accepting(0.02)})
        assert arm(decide(poor)) == ("vanilla", 0)
    assert ks[0] < ks[1]


def test_it_is_explored_at_its_largest_k() -> None:
    """Its drafter works for that anyway; another's positions are learned one after the other."""
    spec = {"mode": "adaptive", "exploration": {"share": 0.1}}
    explored = {}
    for pool in (DRAFT, BLOCK):
        case = context(
            policy=policy(**spec),
            pools=(VANILLA, pool),
            estimates={"draft": accepting(0.5, spread=0.2, steps=60)},
            draws=(0.999, 0.0, 0.999),
        )
        explored[pool.least_asked] = decide(case)
    assert explored[K].k >= explored[1].k


def test_its_crowd_needs_no_k_for_all() -> None:
    """Who asks for more makes nobody's drafter work more."""
    caps = []
    for pool in (DRAFT, BLOCK):
        busy = pool._replace(capacity=256, in_flight=16)
        crowds, estimate = Crowds(), accepting(0.7)
        lengths = (estimate.lengths[3], estimate.drafted[3], estimate.proposing[3])
        score = Score("draft", 3, 1.0, 0.0, 0.0, 0.1, 1.0, *lengths, meets_objective=True, measured=True)
        for number in range(400):
            crowds.refresh(number / 5)
            caps.append(crowds.met(busy, number / 5).cap)
            crowds.sent(score, estimate, Work(), number / 5, cell=("acme", "code"))
    assert caps[399] is not None
    assert caps[400:] == [None] * 400


def test_the_load_from_which_plain_decoding_is_faster_counts_the_block() -> None:
    """It comes earlier than for a drafter that is asked for one token only."""
    plain = StepTime(0.010, per_request=0.0002)
    drafting = plain._replace(per_drafted=0.0004, per_asked=0.0005)
    drafts = Drafts("code", 1.0, accepting(0.7))
    batches = []
    for least in (1, 8):
        pools = [
            EnginePool("vanilla", plain, 0.0, 1000.0, 64),
            EnginePool("draft", drafting, 0.0, 1000.0, 64, 2, drafter_is_model=True, least_asked=least),
        ]
        batches.append(capacity(pools, {"draft": [drafts]}, Work(100.0, 101.0)).whole.batch)
    assert batches[0] is not None
    assert batches[1] is not None
    assert batches[1] < batches[0]


def evidence(profile: str, *, least_asked: int = 1) -> Evidence:
    """What is known of a drafter that always proposes."""
    return Evidence(
        profile=profile,
        task="code",
        tenant=None,
        temperature=None,
        alpha=0.7,
        interval=(0.6, 0.8),
        coverage=(1.0,),
        steps=500.0,
        least_asked=least_asked,
    )


def test_the_break_even_counts_the_block() -> None:
    """28 ms plain; with drafts 28 + 4 and 8 times 1 ms, whatever k."""
    costs = {
        "vanilla": Calibrated(StepTime(0.028), 0.1, 4000),
        "draft": Calibrated(StepTime(0.028, wide=0.004, per_asked=0.001), 0.1, 3000),
    }
    row = evidence("draft", least_asked=8)
    for k in (1, 4, 8):
        found = break_even(row, costs, k=k, requests=1)
        assert found is not None
        assert (found.plain_s, found.speculative_s) == (pytest.approx(0.028), pytest.approx(0.040))
    alone = break_even(row, {"draft": costs["draft"]}, k=2, requests=1)
    assert alone is not None
    assert alone.plain_s == pytest.approx(0.036)


def test_the_break_even_counts_the_drafters_of_other_pools() -> None:
    """Both pools draft with models: plain steps take 20 ms, and 2 or 6 for the drafter that nobody uses."""
    costs = {
        "head": Calibrated(StepTime(0.020, wide=0.014, per_asked=0.002), 0.1, 4000),
        "draft": Calibrated(StepTime(0.020, wide=0.014, per_asked=0.006), 0.1, 4000),
    }
    row = evidence("head")
    found = break_even(row, costs, k=4, requests=1)
    assert found is not None
    assert found.plain_s == pytest.approx(0.022)
    found = break_even(row, costs | {"plain": Calibrated(StepTime(0.020), 0.1, 4000)}, k=4, requests=1)
    assert found is not None
    assert found.plain_s == pytest.approx(0.020)
    block = {"draft": Calibrated(StepTime(0.001, per_asked=0.006), 0.1, 4000)}
    found = break_even(row, costs | block, k=4, requests=1, asked={"draft": 8})
    assert found is not None
    assert found.plain_s == pytest.approx(0.022)


def test_a_decision_log_tells_it_and_older_ones_are_read() -> None:
    """Those know no such drafters."""
    values = logged_context(context(pools=(VANILLA, BLOCK), estimates={}))
    read = context_of(LoggedContext.model_validate(values, strict=False), policy(), None)
    assert read.pools[1].least_asked == K
    del values["pools"][1]["least_asked"]
    read = context_of(LoggedContext.model_validate(values, strict=False), policy(), None)
    assert read.pools[1].least_asked == 1

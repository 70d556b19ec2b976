"""Bands at the measured break-even: where they lie, when there are none, and who gets one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.cost import Calibrated, StepLoad, StepTime
from policies.schema import RoutingPolicy
from policies.speedup import acceptance_length, expected_drafted
from policies.suggest import Evidence, EvidenceError, Suggestion, changes, read_evidence, suggest
from policies.suggest.break_even import break_even

pytestmark = pytest.mark.unit

VANILLA = Calibrated(StepTime(base=0.028), relative_error=0.1, steps=4000)
DRAFT = Calibrated(StepTime(base=0.028, wide=0.004, per_asked=0.004), relative_error=0.1, steps=3000)
COSTS = {"vanilla": VANILLA, "draft": DRAFT}
# At k = 4: 28 ms + 4 ms + 4 * 4 ms = 48 ms for what plain decoding does in 28 ms.
BREAK_EVEN = 0.4247


def policy(**spec: Any) -> RoutingPolicy:
    return RoutingPolicy.model_validate(
        {"apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": "test"}, "spec": spec}
    )


def seen(task: str = "code", alpha: float | None = 0.7, **others: Any) -> Evidence:
    interval = None if alpha is None else (alpha - 0.03, alpha + 0.03)
    fields = {"tenant": None, "temperature": None, "coverage": (1.0,), "steps": 500.0, "interval": interval}
    return Evidence(**{"profile": "draft", "task": task, "alpha": alpha, **fields, **others})


def suggested(*rows: Evidence, among: RoutingPolicy | None = None, **options: Any) -> list[Suggestion]:
    return suggest(among or policy(), rows, options.pop("costs", COSTS), **options)


def test_a_band_lies_around_the_break_even() -> None:
    """As wide as alpha and the step times are uncertain, and told with its evidence."""
    (made,) = suggested(seen())
    assert made.break_even == pytest.approx(BREAK_EVEN, abs=1e-4)
    assert (made.plain_ms, made.speculative_ms, made.k, made.profile) == (28.0, 48.0, 4, "draft")
    assert (made.status, made.note) == ("suggested", "speculation pays")
    assert (made.enable_above, made.disable_below) == (0.47, 0.38)
    assert made.speedup == pytest.approx((1 + 0.7 + 0.49 + 0.343 + 0.2401) * 28 / 48, abs=1e-3)


@settings(deadline=None)
@given(
    alpha=st.floats(0, 1),
    coverage=st.floats(0.05, 1),
    k=st.integers(1, 8),
    times=st.tuples(*[st.floats(0, 0.02)] * 4),
    requests=st.floats(1, 64),
)
def test_speculation_pays_above_the_break_even_and_not_below(
    alpha: float, coverage: float, k: int, times: tuple[float, ...], requests: float
) -> None:
    """By the step times themselves: tokens per step over seconds per step."""
    wide, verify, per_drafted, per_asked = times
    step_time = StepTime(0.02, 0.001, wide, verify, per_drafted, per_asked)
    costs = {"vanilla": VANILLA, "draft": Calibrated(step_time, 0.1, 3000)}
    row = seen(alpha=alpha, coverage=(coverage, 0.95))
    found = break_even(row, costs, k=k, requests=requests)
    assert found is not None
    drafts = StepLoad(
        requests=requests,
        verifying=1 - (1 - coverage) ** requests,
        drafted=requests * expected_drafted(row.coverage, k),
        asked=k,
    )
    plain_s = min(
        VANILLA.step_time.seconds(StepLoad(requests=requests)),
        step_time.seconds(StepLoad(requests=requests, asked=1)),
    )
    gain = acceptance_length((alpha,), (1.0,), k) / step_time.seconds(drafts) * plain_s
    assert found.speedup(alpha) == pytest.approx(gain)
    if abs(gain - 1) > 1e-6:
        assert (alpha > found.alpha) == (gain > 1)


def test_draft_acceptance_rate_is_suggested_where_the_policy_compares_it() -> None:
    """At the same break-even: (alpha + ... + alpha^k) / k of the drafts a model proposes."""
    (made,) = suggested(seen(), among=policy(threshold={"metric": "draft_acceptance_rate"}))
    assert made.metric == "draft_acceptance_rate"
    assert made.break_even == pytest.approx(20 / 28 / 4, abs=1e-4)


def test_more_requests_at_once_move_it() -> None:
    """Every draft is verified for every request, so that speculation has to be accepted more often."""
    dear = Calibrated(DRAFT.step_time._replace(per_drafted=0.002), 0.1, 3000)
    costs = {"vanilla": VANILLA, "draft": dear}
    alone, busy = (suggested(seen(), costs=costs, requests=n)[0].break_even for n in (1, 4))
    assert alone is not None
    assert busy is not None
    assert busy > alone


@pytest.mark.parametrize(
    ("row", "costs", "note"),
    [
        (seen(alpha=None), COSTS, "no drafts were verified yet"),
        (seen(interval=(0.3, 0.9)), COSTS, "alpha and break-even are known to ± 0.30 only"),
        (seen(steps=20.0), COSTS, "20 steps of drafts, min_steps is 50"),
        (seen(), {"vanilla": VANILLA}, "the step times of its pool are not measured yet"),
        (
            seen(),
            {**COSTS, "draft": DRAFT._replace(steps=10.0)},
            "the step times of its pool are not measured yet",
        ),
        (
            seen(),
            {**COSTS, "draft": DRAFT._replace(steps=60.0, relative_error=3.0)},
            "alpha and break-even are known to ± 0.35 only",
        ),
    ],
)
def test_too_little_evidence_is_said(row: Evidence, costs: dict[str, Calibrated], note: str) -> None:
    """A guess would be taken for a measurement."""
    (made,) = suggested(row, costs=costs)
    assert (made.status, made.note, made.enable_above) == ("too little evidence", note, None)
    assert list(changes([made])) == []


def test_replays_are_evidence_without_steps() -> None:
    """A drafter that copies is tried on every answer, also where nothing was drafted."""
    (made,) = suggested(seen(steps=0.0, replayed_requests=40.0))
    assert made.status == "suggested"


def test_a_band_in_place_is_left_alone() -> None:
    """To the second decimal."""
    (made,) = suggested(seen(), among=policy(threshold={"enable_above": 0.47, "disable_below": 0.38}))
    assert made.status == "in place"


def test_the_pool_that_is_worth_most_counts() -> None:
    """That is where threshold mode sends requests."""
    slow = Calibrated(DRAFT.step_time.times(2), 0.1, 3000)
    (made,) = suggested(seen(profile="slow"), seen(), costs={**COSTS, "slow": slow})
    assert made.profile == "draft"


def test_no_band_is_out_of_reach() -> None:
    """Where drafts never pay, the band is as high as the policy may ask without a warning."""
    dear = Calibrated(StepTime(base=0.5), 0.1, 3000)
    (made,) = suggested(seen(), costs={"vanilla": VANILLA, "draft": dear})
    assert (made.enable_above, made.note) == (0.98, "speculation does not pay")


NAMED = {"tenants": {"acme": {}, "globex": {"threshold": {"enable_above": 0.8}}}}


def test_a_tenant_gets_a_band_only_where_the_inherited_one_misleads() -> None:
    """The break-even is the same, so a wider interval alone is no reason; unnamed tenants have no band."""
    made = suggested(
        seen(),
        seen(tenant="acme", interval=(0.6, 0.8)),
        seen(tenant="globex"),
        seen(tenant="unnamed"),
        among=policy(**NAMED),
    )
    assert [(row.tenant, row.status) for row in made] == [
        (None, "suggested"),
        ("acme", "in place"),
        ("globex", "suggested"),
    ]
    assert dict(changes(made)) == {
        ("spec", "tasks", "code", "threshold"): {"enable_above": 0.47, "disable_below": 0.38},
        ("spec", "tenants", "globex", "tasks", "code", "threshold"): {
            "enable_above": 0.47,
            "disable_below": 0.38,
        },
    }


def test_rows_over_all_temperatures_are_read() -> None:
    """Of an answer of the admin API; more keys are welcome, nonsense is named."""
    row = {**seen().model_dump(mode="json"), "lifetime": {}}
    answer = {"entries": [row, {**row, "temperature": "low"}], "store_up": True}
    assert read_evidence(answer) == [seen()]
    with pytest.raises(EvidenceError, match=r"\\[1\\]\\.alpha|alpha: "):
        read_evidence({"entries": [row, {**row, "alpha": 7}]})
    for nonsense in (None, [], {"entries": 3}):
        with pytest.raises(EvidenceError, match="no answer of GET /admin/v1/alpha"):
            read_evidence(nonsense)

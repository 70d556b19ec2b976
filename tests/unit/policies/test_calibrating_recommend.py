"""The recommended policy: it validates, keeps what it does not change, and routes as it says."""

import pytest
from calibrations import COSTS, DRAFT, NGRAM, VANILLA, answers

from policies.calibrating import Known, cells, recommended
from policies.calibrating.expected import Expected, expected_arms, starting_routes
from policies.cells import CellKey, Origin
from policies.decide import Work
from policies.learner import Drafter, Learner
from policies.loading import parse_policy
from policies.memory_evidence import MemoryEvidence
from policies.resolve import resolve

pytestmark = pytest.mark.unit

POLICY = """\
apiVersion: specroute/v1
kind: RoutingPolicy
metadata: {name: mine}
spec:
  mode: adaptive   # stays
  allow_overrides: true
"""
MEASURED = [
    *answers(0.9, prompts=20),
    *answers(0.05, prompts=20, domain="creative", task="creative", seed=2),
]
KNOWN = Known(
    pools=[VANILLA, NGRAM],
    costs=COSTS,
    cost_errors=dict.fromkeys(COSTS, 0.02),
    cells=cells(MEASURED, top_p=1.0),
    tenant="anonymous",
    work={"code": Work(100, 60), "creative": Work(100, 60)},
)


def test_what_pays_is_speculative_and_what_does_not_is_vanilla() -> None:
    """On an idle service that knows the calibration, without chance."""
    made = recommended(POLICY, "mine", KNOWN)
    routes = {one.task: (one.route, one.profile) for one in made.expected}
    assert routes == {"code": ("speculative", "ngram"), "creative": ("vanilla", "vanilla")}


def test_routes_about_where_drafts_begin_to_pay_are_close() -> None:
    """From creative text to code the route changes once, and both sides of there are close."""
    found = []
    for alpha in (0.05, *(0.2 + 0.01 * step for step in range(40)), 0.9):
        known = KNOWN._replace(cells=cells(answers(alpha, prompts=20), top_p=1.0))
        (one,) = recommended(POLICY, "mine", known).expected
        found.append((one.route, one.close))
    routes = [route for route, _ in found]
    begins = routes.index("speculative")
    assert routes == ["vanilla"] * begins + ["speculative"] * (len(routes) - begins)
    assert found[begins - 1][1]
    assert found[begins][1]
    assert not found[0][1]
    assert not found[-1][1]


def test_a_router_starts_with_the_routes_of_the_base_temperature() -> None:
    """Of a task that was not asked there, with those of another."""
    usual = Expected("qa", "low", "vanilla", "vanilla", 0, "no_gain", 0.1, 1.0)
    expected = [
        usual._replace(temperature="mid", route="speculative"),
        usual,
        usual._replace(temperature="high", route="speculative"),
        usual._replace(task="code", temperature="mid", route="speculative"),
    ]
    assert starting_routes(expected, "low") == {"qa": "vanilla", "code": "speculative"}


@pytest.mark.parametrize("mode", ["adaptive", "threshold"])
def test_the_policy_validates_keeps_its_comments_and_routes_as_said(mode: str) -> None:
    """Bands lie around the break-even, so that threshold mode chooses the same."""
    made = recommended(POLICY.replace("adaptive", mode), "mine", KNOWN)
    policy = parse_policy(made.text, "recommended")
    assert f"mode: {mode}   # stays" in made.text
    assert tuple(expected_arms(policy, KNOWN)) == made.expected
    assert [one.route for one in made.expected] == ["speculative", "vanilla"]
    code = policy.spec.tasks["code"]
    assert code.prior_alpha == pytest.approx(0.88, abs=0.06)
    assert code.threshold is not None
    assert 0.3 < (code.threshold.enable_above or 0) < 0.5
    assert any("band" in line for line in made.changes)
    again = recommended(made.text, "mine", KNOWN)
    assert (again.text, again.changes) == (made.text, ())


def test_a_mode_that_chooses_nothing_becomes_one_that_does() -> None:
    """Whoever calibrates wants requests routed by what was found."""
    made = recommended(POLICY.replace("adaptive", "always_vanilla"), "mine", KNOWN)
    assert parse_policy(made.text, "x").spec.mode == "adaptive"
    assert "mode adaptive instead of always_vanilla" in made.changes


def test_one_number_does_not_stand_for_two_drafters() -> None:
    """`prior_alpha` holds for every pool, so with several it is left out."""
    made = recommended(POLICY, "mine", KNOWN._replace(pools=[VANILLA, NGRAM, DRAFT]))
    assert "prior_alpha" not in made.text


def test_a_band_that_collides_with_a_tenants_is_left_out() -> None:
    """And told, with the reason."""
    text = POLICY + "  tenants: {acme: {threshold: {disable_below: 0.60}}}\n"
    made = recommended(text, "mine", KNOWN)
    assert "enable_above" not in made.text
    assert any(line.startswith("left out: code: band") for line in made.changes)
    assert "prior_alpha" in made.text


def test_a_router_that_starts_from_the_calibration_decides_as_the_one_it_was_measured_on() -> None:
    """The warmed-up one learned every answer by itself; the arms are the same."""
    warm = MemoryEvidence()
    learner = Learner(warm, {pool.profile: Drafter(pool.method, pool.max_k) for pool in KNOWN.pools})
    for one in MEASURED:
        if one.k:
            origin = Origin(one.task, "low", one.tenant, half_life_s=1e12)
            assert learner.record(one.profile, origin, one.steps, 0.0)
    lived = KNOWN._replace(cells={key: record.counters for key, record in warm.items() if key.tenant})
    assert all(isinstance(key, CellKey) for key in lived.cells)
    policy = parse_policy(POLICY, "x")
    fresh = [(one.task, one.route, one.profile, one.k) for one in expected_arms(policy, KNOWN)]
    assert fresh == [(one.task, one.route, one.profile, one.k) for one in expected_arms(policy, lived)]
    assert resolve(policy, tenant="anonymous", task="code").mode == "adaptive"

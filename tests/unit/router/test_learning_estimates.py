"""From outcomes to evidence: what counts, what is cached, what fades."""

from pathlib import Path

import pytest
from fakes import T0, ending

import router.learning
from policies.acceptance import Estimate
from policies.cells import CellDelta, CellKey, Origin
from policies.learner import Drafter
from policies.resolve import EffectivePolicy
from replicas.frames import Ending
from router.learning import Learning
from router.policy_source import PolicySource
from router.stats import StatsBuffer

pytestmark = pytest.mark.unit

HALF_LIFE_S = 600.0


@pytest.fixture
def buffer() -> StatsBuffer:
    return StatsBuffer()


@pytest.fixture
def learning(buffer: StatsBuffer) -> Learning:
    return Learning(buffer, {"ngram": Drafter("ngram", 8), "draft": Drafter("draft_model", 8)})


@pytest.fixture
def policy() -> EffectivePolicy:
    return PolicySource().resolve(tenant="acme", task="code")


def record(learning: Learning, given: Ending | None = None, *, k: int = 4, tenant: str = "acme") -> None:
    learning.record("draft", Origin("code", "low", tenant, HALF_LIFE_S), k, given or ending(), T0)


def believed(
    learning: Learning,
    policy: EffectivePolicy,
    *,
    now_s: float = T0,
    task: str = "code",
    tenant: str = "acme",
    temperature: str = "low",
) -> Estimate:
    return learning.estimate(
        profile="draft",
        task=task,
        temperature=temperature,  # type: ignore[arg-type]
        tenant=tenant,
        policy=policy,
        now_s=now_s,
    )


def test_a_request_counts_for_its_task_and_its_tenant(learning: Learning, buffer: StatsBuffer) -> None:
    """Both cells get the same counters and lifetime totals."""
    record(learning)
    key = CellKey("draft", "code", "low")
    assert set(buffer) == {key, key._replace(tenant="acme")}
    for cell in buffer.values():
        assert cell.lifetime == {"requests": 1, "steps": 3, "drafted": 10, "accepted": 5, "tokens": 8}
        assert cell.counters["steps:4"] == 3


@pytest.mark.parametrize(
    "given",
    [
        ending((4,), (5,)),
        ending((4, 4), (1,)),
        ending((9,), (1,)),
        ending((-1,), (-1,)),
    ],
)
def test_counts_that_cannot_be_true_are_rejected(
    given: Ending, learning: Learning, buffer: StatsBuffer, caplog: pytest.LogCaptureFixture
) -> None:
    """They reach no cell, are counted as rejected and logged; they never raise."""
    record(learning, given)
    assert len(buffer) == 0
    assert learning.rejected == 1
    assert "ignored" in caplog.text


def test_uncounted_endings_are_no_evidence_and_no_fault(learning: Learning, buffer: StatsBuffer) -> None:
    """Requests without complete steps are left out silently."""
    record(learning, ending((9,), (99,), counted=False))
    assert len(buffer) == 0
    assert learning.rejected == 0


def test_good_drafts_raise_alpha_and_bad_ones_lower_it(learning: Learning, policy: EffectivePolicy) -> None:
    """The estimate moves with what is seen, at once: no stale copy is served after a tenant's own change."""
    at_first = believed(learning, policy).alpha
    for _ in range(50):
        record(learning, ending((4,) * 10, (4,) * 10))
    raised = believed(learning, policy).alpha
    for _ in range(400):
        record(learning, ending((4,) * 10, (0,) * 10))
    lowered = believed(learning, policy).alpha
    assert lowered < at_first < raised


def test_nothing_is_computed_twice_while_nothing_changes(learning: Learning, policy: EffectivePolicy) -> None:
    """The same object is served while its task is fresh, under any policy that says the same of estimates."""
    record(learning)
    first = believed(learning, policy)
    assert believed(learning, policy, now_s=T0 + 0.9) is first
    assert believed(learning, PolicySource().resolve(tenant="acme", task="code")) is first
    record(learning)
    assert believed(learning, policy) is not first


def test_a_change_concerns_its_task_only(learning: Learning, policy: EffectivePolicy) -> None:
    """A task that little is known of is estimated anew for all tenants and temperatures, others are not."""
    other = believed(learning, policy, task="qa")
    tenant = believed(learning, policy, tenant="else")
    warm = believed(learning, policy, temperature="high")
    record(learning)
    assert believed(learning, policy, task="qa") is other
    assert believed(learning, policy, tenant="else") is not tenant
    assert believed(learning, policy, temperature="high") is not warm


def test_a_record_the_store_forgot_is_forgotten(
    learning: Learning, buffer: StatsBuffer, policy: EffectivePolicy
) -> None:
    """After the store was wiped the estimate is the prior's again."""
    at_first = believed(learning, policy).alpha
    key = CellKey("draft", "code", "low")
    steps = ending((4,) * 100, (4,) * 100)
    record(learning, steps)
    told = dict(buffer)
    fresh = StatsBuffer()
    fresh.learn(told)
    reader = Learning(fresh, {"draft": Drafter("draft_model", 8)})
    assert believed(reader, policy).alpha > at_first
    fresh.relearn({})
    assert key not in fresh
    assert believed(reader, policy, now_s=T0 + 1).alpha == pytest.approx(at_first)


def test_evidence_fades(learning: Learning, policy: EffectivePolicy) -> None:
    """With every half-life the estimate draws nearer to the prior and its interval widens."""
    prior = believed(learning, policy)
    for _ in range(30):
        record(learning, ending((4,) * 10, (0,) * 10))
    seen = [believed(learning, policy, now_s=T0 + n * HALF_LIFE_S) for n in range(0, 16, 3)]
    alphas = [one.alpha for one in seen]
    assert alphas == sorted(alphas)
    assert alphas[-1] == pytest.approx(prior.alpha, abs=0.02)
    assert seen[1].own_steps == pytest.approx(seen[0].own_steps / 8)


def test_a_clock_that_goes_back_fades_nothing(learning: Learning, policy: EffectivePolicy) -> None:
    """Evidence from what seems the future counts as of now."""
    record(learning)
    assert believed(learning, policy, now_s=T0 - 1000).own_steps == pytest.approx(3, abs=1)


def test_a_quiet_tenant_borrows_from_its_task(learning: Learning, policy: EffectivePolicy) -> None:
    """A tenant without evidence is believed to be like the task's others."""
    for _ in range(200):
        record(learning, ending((4,) * 10, (4,) * 10))
    assert believed(learning, policy, tenant="new").alpha > 0.9
    assert believed(learning, policy, tenant="new").own_steps == 0


def test_an_engine_that_lies_is_named_once(learning: Learning, caplog: pytest.LogCaptureFixture) -> None:
    """A line in the log for each kind of problem and profile, a count for each request."""
    for accepted in range(5, 25):
        record(learning, ending((4,), (accepted,)))
    record(learning, ending((4, 4), (1,)))
    record(learning, ending((float("nan"),), (1,)))  # type: ignore[arg-type]
    assert learning.rejected == 22
    assert [line.levelname for line in caplog.records] == ["WARNING"] * 3
    assert "5 accepted" in caplog.text


def test_replays_that_cannot_be_true_are_named_once(
    learning: Learning, buffer: StatsBuffer, caplog: pytest.LogCaptureFixture
) -> None:
    """And reach no cell."""
    for _ in range(3):
        origin = Origin("code", "low", "acme", HALF_LIFE_S)
        learning.record_replay("ngram", origin, {"steps:1": float("nan")}, T0)
    assert (len(buffer), learning.rejected, len(caplog.records)) == (0, 3, 1)


def test_cells_of_profiles_no_longer_served_are_still_read(
    learning: Learning, buffer: StatsBuffer, policy: EffectivePolicy
) -> None:
    """The admin API shows what an earlier deployment learned."""
    buffer.record({CellKey("gone", "code", "low"): CellDelta(600, {"steps": 1.0}, {})}, T0)
    assert 0 <= learning.believed("gone", "code", {"steps": 1.0}, policy).alpha <= 1


def test_the_preset_is_what_the_fixture_reads(policy: EffectivePolicy) -> None:
    """The half-life used here is the default policy's."""
    assert policy.acceptance.half_life == HALF_LIFE_S
    assert Path(router.learning.__file__).exists()

"""What one pool's passes say of another's: all decode the same target."""

import pytest
from fakes import NGRAM, T0, VANILLA, FakePool
from step_reports import status

from policies.cost import Calibrated, Fit, StepTime
from router.costs import PoolCost
from router.pool_state import PoolState
from router.pools import Pools

pytestmark = pytest.mark.unit

NOTHING_PLAIN = Fit(StepTime(0, 0, 0, 0, 0, 0, 0, 0.01, 0, 0, 0), 0.1, 500.0)
"""Where passes vary more than they take, a fit may put all their time down to prompts."""


class Pair:
    """A pool that drafts and a plain one, some of them calibrated at 30 ms a pass."""

    def __init__(self, *calibrated: str) -> None:
        self.now_s = T0
        self._pools = Pools(
            [(NGRAM, FakePool()), (VANILLA, FakePool())],
            calibration=dict.fromkeys(calibrated, Calibrated(StepTime(0.03), 0.1, 900)),
            clock=lambda: self.now_s,
        )
        self.drafting, self.plain = self._pools

    def say(self, pool: PoolState, step_s: float, count: int = 500) -> None:
        """A replica's report of so many passes."""
        pool.cost.report(status(pool.profile.name, step_s, count), self.now_s)

    async def believed_s(self) -> tuple[float, float]:
        """Plain passes as decisions believe them, of the one that drafts and of the plain one."""
        await self._pools.poll()
        return self.drafting.step_time.plain_s(), self.plain.step_time.plain_s()


def test_a_pool_that_was_never_measured_has_its_shape_on_the_others_machine() -> None:
    """Whatever plain step its seed assumed."""
    cost = PoolCost(NGRAM)
    found = cost.believed(T0, 0.05)
    assert found.plain_s() == pytest.approx(0.05)
    assert found.wide / found.base == pytest.approx(cost.step_time.wide / cost.step_time.base)
    assert cost.believed(T0, None) == cost.step_time


def test_a_pool_that_looked_slow_is_tried_again() -> None:
    """Nobody learns otherwise from a pool without requests: its time fades to the fastest pool's."""
    cost = PoolCost(NGRAM)
    cost.report(status("a", 0.06), T0)
    at_once, later, last = (cost.believed(T0 + age_s, 0.03).plain_s() for age_s in (0, 60, 3600))
    assert at_once == cost.step_time.plain_s()
    assert last == pytest.approx(0.03)
    assert last < later < at_once
    cost.report(status("a", 0.06), T0 + 3600)
    assert cost.believed(T0 + 3600, 0.03).plain_s() == pytest.approx(last), "no new step was made"
    cost.report(status("a", 0.06, count=501), T0 + 3600)
    assert cost.believed(T0 + 3600, 0.03) == cost.step_time


def test_the_fastest_pool_is_believed_as_measured() -> None:
    """However long it is idle."""
    cost = PoolCost(NGRAM)
    cost.report(status("a", 0.02), T0)
    assert cost.believed(T0 + 3600, 0.03) == cost.step_time
    assert cost.measured_of_late(T0 + 59)
    assert not cost.measured_of_late(T0 + 61)


async def test_first_steps_do_not_set_calibrated_pools_apart() -> None:
    """A moment's load on one core is no slower pool; without a calibration nothing is known better."""
    pair = Pair("ngram", "vanilla")
    pair.say(pair.drafting, 0.033, 60)
    pair.say(pair.plain, 0.029, 60)
    drafting_s, plain_s = await pair.believed_s()
    assert drafting_s / plain_s == pytest.approx(1.0, abs=0.02)
    assert plain_s == pytest.approx(0.031, rel=0.03)
    pair = Pair()
    pair.say(pair.drafting, 0.033, 60)
    pair.say(pair.plain, 0.029, 60)
    drafting_s, plain_s = await pair.believed_s()
    assert drafting_s / plain_s > 1.1


@pytest.mark.parametrize(
    ("drafting_s", "count", "least", "most"), [(0.06, 300, 1.5, 2.0), (0.033, 9000, 1.05, 1.1)]
)
async def test_a_calibrated_pool_that_became_slow_is_known_for_it(
    drafting_s: float, count: int, least: float, most: float
) -> None:
    """Of half as fast most is believed after some hundred steps, of a tenth slower the most part after thousands."""
    pair = Pair("ngram", "vanilla")
    pair.say(pair.drafting, drafting_s, count)
    pair.say(pair.plain, 0.03, count)
    drafting_s, plain_s = await pair.believed_s()
    assert least < drafting_s / plain_s < most


async def test_what_slows_a_busy_pool_does_not_slow_an_idle_one() -> None:
    """Which was measured fast before, however long ago."""
    pair = Pair("ngram", "vanilla")
    pair.say(pair.plain, 0.03)
    pair.now_s += 1800
    pair.say(pair.drafting, 0.06)
    drafting_s, plain_s = await pair.believed_s()
    assert drafting_s / plain_s > 1.8


async def test_beside_a_pool_the_calibration_does_not_know_an_idle_one_is_compared_with_the_fastest() -> None:
    """Nothing says how fast the two should be beside each other."""
    pair = Pair("ngram")
    pair.say(pair.drafting, 0.09)
    pair.now_s += 3600
    pair.say(pair.plain, 0.03)
    drafting_s, _ = await pair.believed_s()
    assert drafting_s == pytest.approx(0.03, rel=0.02)


async def test_a_calibrated_fit_without_a_plain_step_is_the_calibration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the pace of the others."""
    pair = Pair("ngram", "vanilla")
    pair.say(pair.plain, 0.06)
    monkeypatch.setattr(pair.drafting.cost, "_fit", NOTHING_PLAIN)
    drafting_s, _ = await pair.believed_s()
    assert drafting_s == pytest.approx(0.06, rel=0.02)


async def test_a_calibrated_pool_without_steps_has_the_others_pace() -> None:
    """On a machine twice as slow as the calibration's it is twice as slow too."""
    pair = Pair("ngram", "vanilla")
    pair.say(pair.drafting, 0.06, 100)
    assert await pair.believed_s() == pytest.approx((0.06, 0.06), rel=0.02)


async def test_a_calibrated_pool_that_looked_slow_is_tried_again() -> None:
    """Its steps count for less with every idle minute."""
    pair = Pair("ngram", "vanilla")
    pair.say(pair.drafting, 0.09)
    seen_s = []
    for minute in range(10):
        pair.say(pair.plain, 0.03, 500 + minute)
        seen_s.append((await pair.believed_s())[0])
        pair.now_s += 60
    assert seen_s[0] > 0.07
    assert seen_s[-1] == pytest.approx(0.03, rel=0.1)


async def test_a_fit_without_a_plain_step_makes_no_other_pool_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no time by its own account, and is believed alone in that."""
    pair = Pair()
    pair.say(pair.drafting, 0.02)
    monkeypatch.setattr(pair.drafting.cost, "_fit", NOTHING_PLAIN)
    await pair.believed_s()
    assert pair.plain.step_time == pair.plain.cost.step_time
    assert pair.drafting.step_time == pair.drafting.cost.step_time


async def test_the_cost_report_says_what_decisions_make_of_what_was_measured() -> None:
    """Beside its own step time, which a calibration is written from."""
    pair = Pair("ngram", "vanilla")
    pair.say(pair.drafting, 0.033, 60)
    pair.say(pair.plain, 0.03, 60)
    believed_s = await pair.believed_s()
    for pool, expected_s in zip((pair.drafting, pair.plain), believed_s, strict=True):
        ratio = pool.cost.entry(None, believed=pool.step_time)["believed_over_measured"]
        assert ratio == pytest.approx(expected_s / pool.cost.step_time.plain_s(), abs=1e-3)
        assert ratio != 1.0

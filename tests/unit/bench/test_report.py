"""Intervals, and how soon an arm follows."""

import pytest

from bench.simulate.command import chosen
from bench.simulate.intervals import paired_ratio
from bench.simulate.reaction import _taken_at
from bench.simulate.watched import Watched

pytestmark = pytest.mark.unit


def test_paired_ratios_cancel_the_workload_s_luck() -> None:
    """A side that is always a tenth slower is so exactly, however the seeds differ."""
    ratio = paired_ratio([1.1, 5.5, 2.2], [1.0, 5.0, 2.0])
    assert ratio.mean == pytest.approx(1.1)
    assert ratio.low == pytest.approx(1.1)
    assert ratio.high == pytest.approx(1.1)


def test_intervals_are_student_s() -> None:
    """Two seeds give 6.314 standard errors of the logarithm to either side; one seed gives none."""
    ratio = paired_ratio([1.0, 1.2], [1.0, 1.0])
    assert ratio.mean == pytest.approx(1.2**0.5)
    assert ratio.high / ratio.mean == pytest.approx((1.2**0.5) ** 6.314)
    assert paired_ratio([2.0], [1.0]) == (2.0, 2.0, 2.0)


def point(k: int, oracle_k: int, *, explored: bool = False, regret: float | None = 0.5) -> Watched:
    return Watched(0.0, "draft", k, explored, 0.5, 0.5, "draft", oracle_k, regret)


def test_a_reaction_is_counted_to_the_first_lasting_agreement() -> None:
    """Single agreements among wrong arms do not count; explorations neither help nor harm."""
    wrong, right, explored = point(4, 1), point(1, 1), point(7, 1, explored=True)
    assert _taken_at([wrong] * 30 + [right] * 25) == 30
    assert _taken_at([right, *([wrong] * 30), *([right] * 25)]) == 31
    assert _taken_at([wrong] * 10 + [explored, right] * 25) == 11
    assert _taken_at([wrong] * 60) is None


def test_an_arm_as_good_as_the_oracle_s_agrees() -> None:
    """Within 2 % of the true cost nobody can tell, nor needs to."""
    assert point(3, 2, regret=0.019).agrees
    assert not point(3, 2, regret=0.021).agrees
    assert not point(3, 2, regret=None).agrees


def test_changes_of_the_watched_task_are_counted() -> None:
    """So that requests are known to have begun under the acceptance that holds now."""
    (drift,) = chosen(["drift"])
    assert [drift.changes_before(at_s) for at_s in (0.0, 1199.0, 1200.0, 2400.0)] == [0, 0, 1, 2]
    (steady,) = chosen(["steady-model"])
    assert steady.changes_before(1e9) == 0

"""Evidence in memory: exact decay, additive, in any order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cells import CellDelta, CellKey, decay_factor
from policies.memory_evidence import MemoryEvidence

pytestmark = pytest.mark.unit

KEY = CellKey("draft", "code", "low")
OTHER = KEY._replace(tenant="acme")
HALF_LIFE_S = 600.0


def delta(steps: float) -> CellDelta:
    return CellDelta(HALF_LIFE_S, {"steps": steps}, {"requests": 1})


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 5000)), min_size=1, max_size=12), st.randoms())
def test_any_order_equals_one_stream(outcomes: list[tuple[float, float]], order: object) -> None:
    """Every count weighs 2^(-age / half-life) at the end; clocks that step back change nothing."""
    shuffled = list(outcomes)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    evidence = MemoryEvidence()
    for steps, at_s in shuffled:
        evidence.record({KEY: delta(steps)}, at_s)
    expected = sum(steps * decay_factor(5000 - at_s, HALF_LIFE_S) for steps, at_s in outcomes)
    found = evidence[KEY].decayed_to(5000, HALF_LIFE_S)["steps"]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert evidence[KEY].lifetime == {"requests": len(outcomes)}


def test_changes_are_named_since_a_generation() -> None:
    """Only those after it."""
    evidence = MemoryEvidence()
    evidence.record({KEY: delta(1)}, 0)
    before = evidence.generation
    assert evidence.changed_since(before) == set()
    evidence.record({OTHER: delta(1)}, 0)
    assert evidence.changed_since(before) == {OTHER}
    assert evidence.changed_since(0) == set(evidence) == {KEY, OTHER}


def test_forgetting_scales_what_decays_and_raises_the_epoch() -> None:
    """As a store's compare-and-set does after drift; lifetime totals stay."""
    evidence = MemoryEvidence()
    evidence.record({KEY: delta(8)}, 0)
    evidence = MemoryEvidence(dict(evidence))
    evidence.forget(KEY, 0.25)
    evidence.forget(OTHER, 0.25)
    assert (evidence[KEY].counters["steps"], evidence[KEY].epoch) == (2.0, 1)
    assert evidence[KEY].lifetime == {"requests": 1}
    assert len(evidence) == 1

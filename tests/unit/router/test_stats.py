import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cells import CellDelta, CellKey, CellRecord
from policies.merge import added
from router.stats import StatsBuffer

pytestmark = pytest.mark.unit

T0 = 1_700_000_000.0
HALF_LIFE_S = 600.0
CODE = CellKey("ngram", "code", "low")
QA = CellKey("ngram", "qa", "low")


def delta(steps: float = 1.0, requests: int = 1, half_life_s: float = HALF_LIFE_S) -> CellDelta:
    return CellDelta(half_life_s, {"steps:4": steps}, {"requests": requests})


def steps_at(record: CellRecord, now_s: float) -> float:
    return record.decayed_to(now_s, HALF_LIFE_S)["steps:4"]


events = st.lists(
    st.tuples(st.floats(0, 7200), st.floats(0, 1000), st.integers(0, 10**9)), min_size=1, max_size=12
)


@given(events, st.randoms(use_true_random=False))
def test_merging_in_any_order_equals_one_stream(
    stream: list[tuple[float, float, int]], order: random.Random
) -> None:
    """Late deltas count exactly what they would have counted in time."""
    expected_steps = sum(steps * 2 ** (-(7200 - at) / HALF_LIFE_S) for at, steps, _ in stream)
    order.shuffle(stream)
    record = None
    for at, steps, count in stream:
        record = added(record, delta(steps, count), T0 + at)
    assert record is not None
    assert steps_at(record, T0 + 7200) == pytest.approx(expected_steps, rel=1e-9, abs=1e-9)
    assert record.lifetime["requests"] == sum(count for _, _, count in stream)
    assert record.updated_at_s == T0 + max(at for at, _, _ in stream)


def test_decay_composes() -> None:
    """Decaying in many small steps is decaying once."""
    zero = delta(0.0, 0)
    stepwise = added(None, delta(64.0), T0)
    for second in range(1, 1801):
        stepwise = added(stepwise, zero, T0 + second)
    assert stepwise.counters["steps:4"] == pytest.approx(64.0 / 2**3)


def test_snapshot_holds_store_in_flight_and_new_deltas_together() -> None:
    """What was recorded is seen at once and exactly once, wherever it is on its way."""
    buffer = StatsBuffer()
    buffer.learn({CODE: CellRecord({"steps:4": 8.0}, {"requests": 100}, T0, epoch=3)})
    buffer.record({CODE: delta(1.0)}, T0 + 600)
    assert buffer.next_flush(10) is not None
    buffer.record({CODE: delta(2.0)}, T0 + 1200)
    record = buffer[CODE]
    assert steps_at(record, T0 + 1200) == pytest.approx(8 / 4 + 1 / 2 + 2)
    assert (record.lifetime["requests"], record.epoch) == (102, 3)
    buffer.finish_flush({CODE: CellRecord({"steps:4": 5.0}, {"requests": 101}, T0 + 600, epoch=3)})
    assert steps_at(buffer[CODE], T0 + 1200) == pytest.approx(5 / 2 + 2)
    assert buffer[CODE].lifetime["requests"] == 102


def test_an_unanswered_flush_is_repeated_unchanged_beside_new_deltas() -> None:
    """A retry carries the same id, time and content."""
    buffer = StatsBuffer()
    buffer.record({CODE: delta()}, T0)
    first = buffer.next_flush(10)
    buffer.record({CODE: delta(), QA: delta()}, T0 + 5)
    assert buffer.next_flush(10) is first
    assert buffer.flushes_due(10) == 2
    buffer.finish_flush({})
    second = buffer.next_flush(10)
    assert first is not None
    assert second is not None
    assert second.id.number == first.id.number + 1
    assert set(second.deltas) == {CODE, QA}


def test_flushes_are_limited_in_cells_and_bring_deltas_to_one_time() -> None:
    """A batch holds at most so many cells, each decayed to the batch's newest moment."""
    buffer = StatsBuffer()
    for number in range(5):
        buffer.record({CellKey("ngram", f"task{number}", "low"): delta(8.0)}, T0 + number * 600)
    assert buffer.flushes_due(2) == 3
    flush = buffer.next_flush(2)
    assert flush is not None
    assert flush.until_s == T0 + 600
    assert [d.counters["steps:4"] for d in flush.deltas.values()] == pytest.approx([4.0, 8.0])


def test_an_outage_keeps_one_delta_a_cell() -> None:
    """Memory is bounded by cells however long nobody answers."""
    buffer = StatsBuffer()
    for second in range(1000):
        buffer.record({CODE: delta(), QA: delta()}, T0 + second)
        buffer.next_flush(10)
    assert buffer.flushes_due(10) == 2
    assert len(buffer) == 2
    assert buffer[CODE].lifetime["requests"] == 1000


def test_readers_learn_which_cells_changed() -> None:
    """Only cells that changed since a reader's generation are named, and learning the same is no change."""
    buffer = StatsBuffer()
    buffer.record({CODE: delta()}, T0)
    before = buffer.generation
    assert buffer.changed_since(0) == {CODE}
    assert buffer.changed_since(before) == set()
    record = CellRecord({"steps:4": 1.0}, {}, T0)
    buffer.learn({QA: record})
    assert buffer.changed_since(before) == {QA}
    after = buffer.generation
    buffer.learn({QA: record})
    assert buffer.generation == after


def test_after_a_store_lost_everything_only_the_untold_remains() -> None:
    """The store's content is followed, and what disappeared counts as changed."""
    buffer = StatsBuffer()
    buffer.learn({CODE: CellRecord({"steps:4": 9.0}, {"requests": 9}, T0), QA: CellRecord({}, {}, T0)})
    buffer.record({CODE: delta()}, T0)
    before = buffer.generation
    buffer.relearn({})
    assert dict(buffer) == {CODE: CellRecord({"steps:4": 1.0}, {"requests": 1}, T0)}
    assert buffer.changed_since(before) == {CODE, QA}
    assert QA not in buffer


def test_tenants_beyond_the_cap_count_in_the_total_only(caplog: pytest.LogCaptureFixture) -> None:
    """The cap holds by arrival, with one line in the log."""
    buffer = StatsBuffer(max_tenants=2)
    for tenant in ("a", "b", "c", "d", "a"):
        buffer.record({CODE: delta(), CODE._replace(tenant=tenant): delta()}, T0)
    assert {key.tenant for key in buffer} == {None, "a", "b"}
    assert buffer[CODE].lifetime["requests"] == 5
    assert len(caplog.records) == 1


def test_tenants_of_other_routers_are_capped_but_leave_room_for_our_own() -> None:
    """What the store holds cannot crowd out the tenants this router serves."""
    buffer = StatsBuffer(max_tenants=2)
    stored = {CODE._replace(tenant=f"t{i}"): CellRecord({}, {"requests": 7}, T0) for i in range(10)}
    buffer.learn(stored)
    assert len(buffer) == 2
    buffer.record({CODE._replace(tenant="t9"): delta()}, T0)
    buffer.next_flush(10)
    buffer.finish_flush({CODE._replace(tenant="t9"): CellRecord({}, {"requests": 8}, T0)})
    assert buffer[CODE._replace(tenant="t9")].lifetime["requests"] == 8


def test_refused_cells_leave_and_the_rest_goes_under_a_new_id() -> None:
    """One unreadable record does not hold up the others."""
    buffer = StatsBuffer()
    buffer.record({CODE: delta(), QA: delta()}, T0)
    first = buffer.next_flush(10)
    buffer.refuse_flush(frozenset({CODE}))
    second = buffer.next_flush(10)
    assert first is not None
    assert second is not None
    assert second.id != first.id
    assert set(second.deltas) == {QA}


def test_age_is_unknown_before_the_first_contact() -> None:
    """Unknown is None, and a lost store keeps the age of its last word."""
    buffer = StatsBuffer()
    assert (buffer.store_up, buffer.age_s(T0)) == (False, None)
    buffer.note_contact(T0)
    buffer.note_lost()
    assert (buffer.store_up, buffer.age_s(T0 + 7)) == (False, 7.0)


def counted(buffer: StatsBuffer) -> tuple[float, int, int]:
    """Steps, lifetime requests and epoch of the cell."""
    record = buffer[CODE]
    return record.counters["steps:4"], record.lifetime["requests"], record.epoch


def test_a_cut_is_seen_at_once_wherever_the_evidence_is() -> None:
    """Store, flight and pending alike; what is counted afterwards is whole, and lifetime totals stay."""
    buffer = StatsBuffer()
    buffer.learn({CODE: CellRecord({"steps:4": 80.0}, {"requests": 10}, T0, epoch=3)})
    buffer.record({CODE: delta(40.0)}, T0)
    flush = buffer.next_flush(10)
    buffer.record({CODE: delta(20.0)}, T0)
    before = buffer.generation
    buffer.cut(CODE, 0.1)
    assert counted(buffer) == (pytest.approx(14.0), 12, 4)
    assert buffer.changed_since(before) == {CODE}
    buffer.record({CODE: delta(5.0)}, T0)
    assert counted(buffer) == (pytest.approx(19.0), 13, 4)
    assert flush is not None
    assert flush.deltas[CODE].counters == {"steps:4": 40.0}


def test_nothing_new_overtakes_a_cut() -> None:
    """What was in flight goes first, unchanged; what is pending waits until the store has cut."""
    buffer = StatsBuffer()
    buffer.learn({CODE: CellRecord({"steps:4": 80.0}, {"requests": 10}, T0)})
    buffer.record({CODE: delta(40.0)}, T0)
    first = buffer.next_flush(10)
    buffer.cut(CODE, 0.5)
    buffer.record({CODE: delta(5.0), QA: delta()}, T0)
    assert buffer.next_flush(10) is first
    buffer.finish_flush({CODE: CellRecord({"steps:4": 120.0}, {"requests": 11}, T0)})
    assert counted(buffer) == (pytest.approx(65.0), 12, 1)
    assert buffer.next_flush(10) is None
    assert dict(buffer.cuts_due()) == {CODE: (0, 0.5)}
    buffer.finish_cut(CODE, CellRecord({"steps:4": 60.0}, {"requests": 11}, T0, epoch=1))
    assert counted(buffer) == (pytest.approx(65.0), 12, 1)
    second = buffer.next_flush(10)
    assert second is not None
    assert set(second.deltas) == {CODE, QA}


def test_a_cut_that_another_router_made_is_not_made_again() -> None:
    """A refresh with a higher epoch settles it."""
    buffer = StatsBuffer()
    buffer.learn({CODE: CellRecord({"steps:4": 80.0}, {"requests": 10}, T0, epoch=1)})
    buffer.cut(CODE, 0.1)
    buffer.learn({CODE: CellRecord({"steps:4": 20.0}, {"requests": 12}, T0, epoch=2)})
    assert not buffer.cuts_due()
    assert counted(buffer) == (20.0, 12, 2)


def test_what_others_added_before_a_cut_is_cut_with_it() -> None:
    """The same epoch means that the store still has to cut."""
    buffer = StatsBuffer()
    buffer.learn({CODE: CellRecord({"steps:4": 80.0}, {"requests": 10}, T0, epoch=1)})
    buffer.cut(CODE, 0.1)
    buffer.learn({CODE: CellRecord({"steps:4": 100.0}, {"requests": 14}, T0, epoch=1)})
    assert counted(buffer) == (pytest.approx(10.0), 14, 2)
    assert dict(buffer.cuts_due()) == {CODE: (1, 0.1)}


def test_a_store_that_went_back_to_an_older_state_is_still_cut() -> None:
    """Its epoch is lower than the expected one; the cut then expects that one."""
    buffer = StatsBuffer()
    buffer.learn({CODE: CellRecord({"steps:4": 80.0}, {"requests": 10}, T0, epoch=5)})
    buffer.cut(CODE, 0.1)
    buffer.learn({CODE: CellRecord({"steps:4": 50.0}, {"requests": 7}, T0, epoch=2)})
    assert dict(buffer.cuts_due()) == {CODE: (2, 0.1)}
    buffer.finish_cut(CODE, None)
    assert not buffer.cuts_due()


def test_old_evidence_that_was_never_told_is_cut_when_another_router_cuts() -> None:
    """A long outage may have left more of it here than the store had."""
    buffer = StatsBuffer()
    buffer.learn({CODE: CellRecord({"steps:4": 80.0}, {"requests": 10}, T0)})
    buffer.record({CODE: CellDelta(HALF_LIFE_S, {"steps:4": 400.0, "requests": 40.0}, {"requests": 40})}, T0)
    buffer.learn({CODE: CellRecord({"steps:4": 8.0}, {"requests": 10}, T0, epoch=1)})
    assert counted(buffer) == (pytest.approx(28.0), 50, 1)


def test_a_cell_the_store_does_not_know_is_cut_here_only() -> None:
    """There is no epoch to compare with, and nothing to cut there."""
    buffer = StatsBuffer()
    buffer.record({CODE: delta(10.0)}, T0)
    buffer.cut(CODE, 0.1)
    assert counted(buffer) == (1.0, 1, 0)
    assert not buffer.cuts_due()
    assert buffer.epoch(CODE) is None


def test_two_cuts_before_the_store_heard_of_one_are_one_of_both_factors() -> None:
    """In a long outage a task may fall and rise again."""
    buffer = StatsBuffer()
    buffer.learn({CODE: CellRecord({"steps:4": 80.0}, {"requests": 10}, T0)})
    buffer.cut(CODE, 0.1)
    buffer.record({CODE: delta(10.0)}, T0)
    buffer.cut(CODE, 0.5)
    assert counted(buffer) == (pytest.approx(9.0), 11, 1)
    buffer.relearn({})
    assert counted(buffer) == (pytest.approx(5.0), 1, 0)
    assert not buffer.cuts_due()

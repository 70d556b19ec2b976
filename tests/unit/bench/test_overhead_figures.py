"""The overhead bench's figures: what is added to the direct side, and how surely."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.overhead.client import Timed
from bench.overhead.figures import Block, figures, interval
from bench.overhead.report import text
from bench.overhead.run import Place, _Asked, blocks

pytestmark = pytest.mark.unit

TIMES = {"direct": 40.0, "bare-serve": 42.0, "specroute": 43.0, "litellm": 52.0}


def block(repeat: int, side: str, chunks: int, *, noise: float = 0.0) -> Block:
    """One whose side adds as much per chunk as it does to eight chunks together, divided by eight."""
    total = chunks * 5 + (TIMES[side] - 40) * chunks / 8 + noise
    return Block(repeat, side, chunks, 1, 8, 5.0 + noise, total, 1.0 + TIMES[side] - 40, chunks + 1.0)


def run(repeats: int = 5, chunks: tuple[int, ...] = (8, 64)) -> list[Block]:
    """All sides, on a machine whose noise falls on all of them alike."""
    return [
        block(repeat, side, size, noise=3.0 * repeat)
        for repeat in range(repeats)
        for size in chunks
        for side in TIMES
    ]


def test_what_the_machine_does_besides_cancels() -> None:
    """Noise that falls on all sides of a repeat is in no difference."""
    rows = {(row["side"], row["chunks"]): row for row in figures(run())["cells"]}
    assert rows["specroute", 8]["added_total_ms"] == pytest.approx((3.0, 3.0, 3.0))
    assert rows["litellm", 64]["added_total_ms"] == pytest.approx((96.0, 96.0, 96.0))
    assert rows["litellm", 8]["added_first_ms"] == pytest.approx((0.0, 0.0, 0.0))
    assert "added_total_ms" not in rows["direct", 8]


def test_additions_are_compared_as_ratios() -> None:
    """3 ms beside 2 ms and beside 12 ms; where the other adds nothing there is no ratio."""
    rows = {row["to"]: row for row in figures(run(chunks=(8,)))["comparisons"]}
    assert rows["bare-serve"]["added_total_ms"] == pytest.approx((1.5, 1.5, 1.5))
    assert rows["litellm"]["added_total_ms"] == pytest.approx((0.25, 0.25, 0.25))
    assert rows["litellm"]["added_first_ms"] is None
    assert rows["bare-serve"]["total_ms"][0] < 43 / 42


def test_a_line_through_two_lengths_tells_chunks_from_requests() -> None:
    """What grows with the chunks is theirs; with one length there is no line."""
    rows = {row["side"]: row for row in figures(run())["slopes"]}
    assert rows["specroute"]["total_us_per_chunk"] == pytest.approx((375, 375, 375))
    assert rows["specroute"]["total_us_per_request"] == pytest.approx((0, 0, 0), abs=1e-6)
    assert rows["specroute"]["cpu_us_per_request"] == pytest.approx((3000, 3000, 3000))
    assert figures(run(chunks=(8,)))["slopes"] == []


def test_idle_processor_time_is_nobodys_request() -> None:
    """What a side takes while others are asked is taken off; a peer's engine counts as its own."""
    engines = {"direct": "direct", "specroute": "specroute", "litellm": "direct"}
    answers, place = [Timed(0.005, 0.04, 9)] * 10, Place(8, 1)
    asked = [
        _Asked("direct", place, answers, 1.0, {"direct": 0.02, "specroute": 0.1, "litellm": 0.0}),
        _Asked("specroute", place, answers, 2.0, {"direct": 0.0, "specroute": 0.5, "litellm": 0.0}),
        _Asked("litellm", place, answers, 1.0, {"direct": 0.03, "specroute": 0.1, "litellm": 0.2}),
    ]
    cpu_ms = {found.side: found.cpu_ms for found in blocks(asked, engines)}
    assert cpu_ms == pytest.approx({"direct": 2.0, "specroute": 30.0, "litellm": 23.0})


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_an_interval_holds_its_figure_and_stays_within_the_repeats(values: list[float]) -> None:
    """The median of resampled repeats is never beyond the smallest and the largest of them."""
    value, low, high = interval(np.array(values), lambda medians: medians[..., 0])
    assert value == np.median(values)
    assert min(values) <= low <= high <= max(values)


def test_the_report_names_every_side_and_who_is_missing() -> None:
    """A person reads one table per load."""
    report = {
        "machine": {"processor": "one", "cores": 2, "load": 0.1, "load_after": 0.2},
        "load": {"repeats": 5, "step_ms": 5.0},
        "not_installed": ["vllm-router"],
        "failed": {"litellm": "it did not start"},
        **figures(run()),
    }
    shown = text(report)
    assert "64 chunks, 1 at once" in shown
    assert "vllm-router: not installed" in shown
    assert all(side in shown for side in TIMES)

"""Sums of the savings report, what is estimated from them, and what is claimed."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_savings import Shape, counted

from policies.savings import (
    LENGTHS,
    NEEDED,
    OTHER_TENANTS,
    OTHERS,
    Cell,
    Group,
    Observation,
    Scope,
    Sums,
    Traffic,
    claim,
    parse_row,
    plain_time,
    report,
    row_text,
    strata,
)

pytestmark = pytest.mark.unit

TRAFFIC = Traffic(3600.0, 0.05)
SECONDS = st.floats(0.01, 100.0)
TOKENS = st.integers(2, 4000)
SHARES = st.floats(0.01, 0.9)


def seen(group: Group = "holdout", **changes: Any) -> Observation:
    """A request of 101 tokens that took a second."""
    values: dict[str, Any] = {
        "group": group,
        "share": 0.0 if group == "other" else 0.05,
        "completed": True,
        "tokens": 101,
        "decode_s": 1.0,
        "completion_s": 1.2,
    }
    return Observation(**(values | changes))


def summed(*requests: Observation) -> Sums:
    whole = Sums()
    for request in requests:
        whole += Sums.of(request)
    return whole


def cells(
    held: int, routed: int, *, task: str = "code", tenant: str = "a", **changes: Any
) -> dict[Cell, Sums]:
    """So many held-out requests of a second, scattered a little, and routed ones of 0.7 seconds."""
    return {
        Cell(tenant, task, "holdout"): summed(
            *(seen(decode_s=1.0 + 0.1 * math.sin(place), **changes) for place in range(held))
        ),
        Cell(tenant, task, "routed"): summed(
            *(seen("routed", decode_s=0.7, **changes) for _ in range(routed))
        ),
    }


@given(st.lists(st.tuples(TOKENS, SECONDS, SHARES), min_size=2, max_size=30))
def test_sums_say_what_the_requests_say(requests: list[tuple[int, float, float]]) -> None:
    """The rate, the variance and the third moment from sums of powers are those from single residuals."""
    whole = summed(*(seen(tokens=n, decode_s=s, share=h) for n, s, h in requests))
    x, y, h = np.array(requests).T
    x = x - 1
    weights = (1 - h) / h
    scales = weights / np.sqrt(1 - h)
    rate = (weights * y).sum() / (weights * x).sum()
    residuals = scales * (y - rate * x)
    shares = scales * x / (scales * x).sum()
    found = plain_time(whole.decode, len(requests), 1000.0, 0.0)
    assert found is not None
    factor = len(requests) / (len(requests) - 1) * (1000.0 / (weights * x).sum()) ** 2
    size = float((scales * (y + rate * x)).max())
    assert found.seconds == pytest.approx(1000.0 * rate)
    expected = (residuals**2 * (1 + 2 * shares + 3 * shares**2)).sum()
    assert found.variance == pytest.approx(expected * factor, rel=1e-6, abs=1e-9 * size**2 * factor)
    third = (residuals**3).sum() * (1000.0 / (weights * x).sum()) ** 3
    assert found.third == pytest.approx(
        third, rel=1e-6, abs=1e-9 * size**3 * (1000.0 / (weights * x).sum()) ** 3
    )


@given(st.floats(0.01, 100.0), st.integers(2, 20))
def test_an_estimate_scales_with_the_seconds_and_not_with_the_share(factor: float, routed: int) -> None:
    """The unit of time is nobody's business; one constant share drops out of the rate."""
    requests = [seen(tokens=50 + 7 * place, decode_s=1.0 + 0.3 * math.cos(place)) for place in range(8)]
    scaled = [one._replace(decode_s=factor * one.decode_s) for one in requests]
    shared = [one._replace(share=0.2) for one in requests]
    found, larger, other = (
        plain_time(summed(*group).decode, 8, 1000.0 * routed, 0.0) for group in (requests, scaled, shared)
    )
    assert found is not None
    assert larger is not None
    assert other is not None
    low, high = found.interval(0.95)
    assert larger.interval(0.95) == pytest.approx((factor * low, factor * high))
    assert other.seconds == pytest.approx(found.seconds)
    assert low < found.seconds < high


@given(st.sampled_from(["holdout", "routed", "other"]), SECONDS, TOKENS, st.booleans())
def test_rows_survive_the_store(group: Group, seconds: float, tokens: int, completed: bool) -> None:
    """As text and back they are the same; what is damaged is told from what is not."""
    sums = Sums.of(seen(group, decode_s=seconds, tokens=tokens, completed=completed))
    assert len(sums.row) == LENGTHS[group]
    assert parse_row(group, row_text(sums)) == sums
    assert parse_row(group, row_text(sums) + " 1") is None
    assert parse_row(group, row_text(sums).replace("1", "x")) is None
    assert parse_row(group, "nan " * (LENGTHS[group] - 1) + "1") is None


def test_a_saving_is_claimed_with_its_interval() -> None:
    """Seconds, share and speedup are those of the routed requests, and say the same."""
    found = claim(cells(200, 3800), TRAFFIC, confidence=0.95)
    assert found.verdict == "saved"
    assert found.decode is not None
    assert found.decode.taken_s == pytest.approx(0.7 * 3800)
    assert found.decode.saved_s == pytest.approx(0.3 * 3800, rel=0.02)
    assert found.decode.speedup == pytest.approx(1 / 0.7, rel=0.02)
    low, high = found.decode.speedup_interval
    assert found.decode.share_interval == pytest.approx((1 - 1 / low, 1 - 1 / high))
    assert found.note.startswith("3,800 requests decoded in 0.70 of the time that plain decoding would have")
    assert "95% interval 0.69 to 0.71" in found.note


def test_a_loss_is_called_one() -> None:
    """A policy that costs time is told so."""
    slow = cells(200, 3800)
    slow[Cell("a", "code", "routed")] = summed(*(seen("routed", decode_s=1.3) for _ in range(3800)))
    found = claim(slow, TRAFFIC, confidence=0.95)
    assert found.verdict == "slower"
    assert found.note.endswith("speculation cost time")


def test_no_saving_is_shown_where_there_is_none() -> None:
    """The interval with 0 inside is told, and not taken for a saving."""
    same = cells(200, 3800)
    same[Cell("a", "code", "routed")] = summed(*(seen("routed", decode_s=1.0) for _ in range(3800)))
    found = claim(same, TRAFFIC, confidence=0.95)
    assert found.verdict == "undecided"
    assert found.decode is not None
    assert found.decode.saved_s_interval.low < 0 < found.decode.saved_s_interval.high


@pytest.mark.parametrize(
    ("counts", "verdict", "says"),
    [
        ({}, "no_requests", "no request was answered"),
        (
            {Cell("a", "code", "other"): summed(*(seen("other") for _ in range(500)))},
            "no_holdout",
            (
                "no request could have been held out; at the present traffic that takes about 4.0 hours with "
                "holdout.share 5%"
            ),
        ),
        (
            cells(40, 760),
            "not_enough_evidence",
            (
                "40 requests held out of at least 100; at the present traffic that takes about 1.5 hours with "
                "holdout.share 5%"
            ),
        ),
        (cells(400, 3800), "unsound", "400 requests were held out where 210 were to be expected"),
    ],
)
def test_nothing_is_claimed_without_evidence(counts: dict[Cell, Sums], verdict: str, says: str) -> None:
    """What is missing is said instead, and how long it takes."""
    found = claim(counts, TRAFFIC, confidence=0.95)
    assert (found.verdict, found.decode, found.completion) == (verdict, None, None)
    assert found.note.startswith(says)


def test_an_interval_that_says_nothing_is_no_figure() -> None:
    """Where plain times scatter too much the report says how many more requests would tell."""
    wild = cells(0, 2000)
    wild[Cell("a", "code", "holdout")] = summed(
        *(seen(decode_s=20.0 if place % 20 == 0 else 0.1) for place in range(105))
    )
    found = claim(wild, TRAFFIC, confidence=0.95)
    assert (found.verdict, found.decode) == ("not_enough_evidence", None)
    assert "may be anything from" in found.note
    assert found.hours_to_tell is not None
    assert found.hours_to_tell > 0


def test_lost_requests_count_as_drawn() -> None:
    """A request that was cancelled had been drawn for its group: losing some alike is sound, and told."""
    counts = cells(150, 3800)
    counts[Cell("a", "code", "holdout")] += summed(*(seen(completed=False) for _ in range(50)))
    found = report(counts, Scope(3600.0, 0.0, 3600.0, 0.0, 0.05))
    assert found["overall"]["verdict"] == "saved"
    assert found["overall"]["lost"] == {"routed": 0, "holdout": 50}
    assert any("25.0% were cancelled or failed" in note for note in found["notes"])


def test_small_strata_are_compared_together() -> None:
    """By tenant and task where enough were held out, else by task, and the rest as one; nothing is lost."""
    counts: dict[Cell, Sums] = {}
    for tenant, task, held in [
        ("a", "code", 60),
        ("b", "code", 15),
        ("c", "code", 15),
        ("a", "sql", 8),
        ("a", "qa", 9),
    ]:
        counts |= cells(held, 19 * held, tenant=tenant, task=task)
    found = strata(counts)
    assert [part.held_out for part in found] == [60, 47]
    # b and c are of one task and enough together; what is left of sql and qa joins the smaller stratum.
    assert sum(part.routed.tally.requests for part in found) == 19 * 107


def test_a_report_is_about_all_and_about_each() -> None:
    """Tasks and tenants have claims of their own, restricted to what was asked for; others have no name."""
    counts = (
        cells(120, 2280) | cells(120, 2280, task="sql", tenant="b") | cells(3, 57, task="sql", tenant=OTHERS)
    )
    scope = Scope(86_400.0, 0.0, 86_400.0, 100.0, 0.05)
    found = report(counts, scope)
    assert [part["task"] for part in found["tasks"]] == ["sql", "code"]
    assert [part["tenant"] for part in found["tenants"]] == ["a", "b", OTHER_TENANTS]
    assert found["overall"]["requests"] == 4860
    assert found["holdout"] == {"share": 0.05, "requests": 243, "expected": 243.0}
    assert any("about one in 20 misses" in note for note in found["notes"])
    mine = report(counts, scope._replace(tenant="b", task="sql"))
    assert mine["overall"]["requests"] == 2400
    assert [part["tenant"] for part in mine["tenants"]] == ["b"]


def test_passes_are_counted_and_need_no_holdout() -> None:
    """Plain decoding needs a pass for every token after the first; those with unknown steps count nowhere."""
    counts = {
        Cell("a", "code", "other"): summed(
            seen("other", steps=40, accepted=60),
            seen("other", steps=100, accepted=0),
            seen("other", steps=None),
        )
    }
    found = report(counts, Scope(3600.0, 0.0, 3600.0, 0.0, 0.0))["overall"]
    assert (found["passes_saved"], found["passes_made"], found["verdict"]) == (60, 140, "no_holdout")


def test_a_changed_share_that_outweighs_the_rest_is_refused() -> None:
    """Ten requests that weigh eleven times as much as the others are worth fewer than all of them."""
    day = counted(Shape(requests=2000, shares=(0.01, 0.1)), 3)
    assert day.held_out >= NEEDED
    found = claim(day.cells, TRAFFIC, confidence=0.95)
    assert found.verdict == "not_enough_evidence"
    assert "that weigh differently, since the share was changed" in found.note

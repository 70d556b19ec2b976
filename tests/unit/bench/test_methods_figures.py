"""Figures and tables of the methods bench."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.methods.figures import BASE, figures, ratio
from bench.methods.tables import markdown

pytestmark = pytest.mark.unit


def answer(
    profile: str, k: int, drafted: list[int], accepted: list[int], *, tpot_s: float = 0.02
) -> dict[str, Any]:
    """One as the journal has it."""
    tokens = 1 + sum(1 + one for one in accepted)
    return {
        "profile": profile,
        "k": k,
        "tokens": tokens,
        "decode_s": tpot_s * (tokens - 1),
        "drafted": drafted,
        "accepted": accepted,
    }


def row(number: int, *, speed: float = 0.5, gap: float | None = None, family: str = "qa") -> dict[str, Any]:
    """A prompt of which a drafter that sees only the first of two tokens is asked."""
    return {
        "prompt": f"p{number}",
        "family": family,
        "answers": {
            BASE: answer("vanilla", 0, [0] * 8, [0] * 8),
            "ngram k=2": answer("ngram", 2, [1, 0, 2, 2, 0], [1, 0, 2, 0, 0], tpot_s=0.02 * speed),
        },
        "gaps": {BASE: None, "ngram k=2": gap},
    }


def test_acceptance_and_coverage_are_by_position() -> None:
    """Where the drafter offered nothing it is coverage, not acceptance, that is missing."""
    found = {one["arm"]: one for one in figures([row(1), row(2)]) if one["family"] == "qa"}
    ngram = found["ngram k=2"]
    # The last step counts what it accepted and no more: four steps, of which three drafted.
    assert ngram["coverage_by_position"] == [3 / 4, 1 / 2]
    assert ngram["alpha_by_position"] == [2 / 3, 1.0]
    assert ngram["coverage"] == 3 / 5
    assert ngram["acceptance_length"] == pytest.approx(8 / 5)
    assert ngram["tpot_ratio"] == pytest.approx((0.5, 0.5, 0.5))
    assert ngram["tpot_ms"] == pytest.approx(10)
    assert found[BASE]["tpot_ratio"] == pytest.approx((1, 1, 1))


def test_answers_that_part_are_counted_by_how_sure_plain_decoding_was() -> None:
    """Two tokens that are equally likely but for rounding may change places."""
    rows = figures([row(1), row(2, gap=1e-5), row(3, gap=0.5)])
    counted = [(one["identical"], one["rounding"], one["different"]) for one in rows if one["k"] == 2]
    assert counted == [(1, 1, 1), (1, 1, 1)]


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=2, max_size=30))
def test_a_ratio_lies_in_its_interval_and_between_the_extremes(pairs: list[tuple[float, float]]) -> None:
    """Whatever the times are."""
    found = ratio(pairs)
    assert found is not None
    value, low, high = found
    each = [own / plain for own, plain in pairs]
    assert min(each) * (1 - 1e-9) <= low <= high <= max(each) * (1 + 1e-9)
    assert min(each) * (1 - 1e-9) <= value <= max(each) * (1 + 1e-9)


def test_one_prompt_has_no_ratio() -> None:
    """It tells nothing of how much prompts differ; an answer of one token has no time per token."""
    assert ratio([(1.0, 2.0)]) is None
    assert ratio([(1.0, 2.0), (None, 2.0)]) is None


def test_tables_show_all_prompts_and_the_best_k_of_each_family() -> None:
    """Plain decoding, and families of very few prompts, stand in the first table only."""
    rows = [*map(row, range(4)), *(row(n, gap=0.5 if n == 4 else None, family="math") for n in range(4, 8))]
    text = markdown(figures([*rows, row(8, family="rare")]))
    assert "| all | vanilla | 0 | 9 | - | - | - | - | 1.00 (1.00 to 1.00) | 9 |" in text
    assert "| qa | ngram | 2 | 4 | 0.67 1.00 | 0.60 | 0.50 | 1.60 | 0.50 (0.50 to 0.50) | 4 |" in text
    assert "| 3, 0 within rounding, 1 different |" in text
    assert "| qa | vanilla" not in text
    assert "| rare |" not in text
    assert "By family:" in text

"""The demo's figures, sentences and tables, without a service."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace

import pytest
from demo_rows import failed, learning_rows, row
from rich.console import Console

from router.demo.comparison import Pair, interval, ratio
from router.demo.figures import UNKNOWN_TASK, Figures, TaskFigures, accepted, figures, routed_tasks
from router.demo.learned import learned
from router.demo.progress import Lines
from router.demo.rows import Row
from router.demo.table import show

pytestmark = pytest.mark.unit


def of_task(result: Figures, task: str) -> TaskFigures:
    """The table's line of a task."""
    return next(line for line in result.tasks if line.task == task)


def test_time_saved_compares_each_prompt_with_its_own_vanilla_run() -> None:
    """Code takes half the time per token, creative the same: 50 % and 0 % saved, 0.75 of the time in all."""
    result = figures(learning_rows())
    assert result.baseline == "paired"
    assert of_task(result, "code").saved == pytest.approx(0.5)
    assert of_task(result, "creative").saved == pytest.approx(0.0)
    assert result.totals.second_ratio == pytest.approx(0.75)
    assert result.totals.first_ratio == pytest.approx(1.0)


def test_each_pass_is_compared_with_the_vanilla_requests_beside_it() -> None:
    """A machine that got slower between the passes moves neither ratio."""
    rows = [
        row("first", "a", tpot_ms=40),
        row("vanilla", "a", tpot_ms=40, beside="first"),
        row("second", "a", tpot_ms=60, k=4),
        row("vanilla", "a", tpot_ms=80),
    ]
    totals = figures(rows).totals
    assert (totals.first_ratio, totals.second_ratio) == (pytest.approx(1.0), pytest.approx(0.75))


def test_answers_of_different_length_are_compared_by_time_per_token() -> None:
    """A sampled answer that ended sooner saved nothing by that."""
    rows = [row("second", "a", tpot_ms=50, tokens=11), row("vanilla", "a", tpot_ms=50, tokens=41)]
    assert figures(rows).totals.second_ratio == pytest.approx(1.0)


def test_without_overrides_the_vanilla_requests_seen_are_the_comparison() -> None:
    """The time per token of all vanilla requests stands in, for tasks that had none as well."""
    rows = [
        row("first", "a", tpot_ms=40),
        row("second", "a", tpot_ms=30, k=4),
        row("second", "b", tpot_ms=30, k=4, task="sql"),
    ]
    result = figures(rows)
    assert result.baseline == "seen"
    assert of_task(result, "code").saved == pytest.approx(0.25)
    assert of_task(result, "sql").saved == pytest.approx(0.25)


def test_a_vanilla_request_that_was_speculated_on_is_no_baseline() -> None:
    """A service that stops honouring overrides in mid-run must not be compared with itself."""
    rows = [row("second", "a", tpot_ms=30, k=4), row("vanilla", "a", tpot_ms=30, k=4)]
    result = figures(rows)
    assert result.baseline == "none"
    assert result.totals.second_ratio is None


def test_shares_and_k_are_of_their_passes() -> None:
    """The share moves from 0 to 1; k is the median of what the second pass used."""
    rows = [
        *learning_rows(2),
        row("first", "code-9", tpot_ms=30, k=8),
        row("second", "code-9", tpot_ms=30, k=6),
    ]
    line = of_task(figures(rows), "code")
    assert (line.first_share, line.second_share) == (pytest.approx(1 / 3), 1.0)
    assert (line.profile, line.k, line.requests) == ("ngram", 4, 3)


def test_acceptance_is_counted_per_position() -> None:
    """Half of the steps draft two tokens and keep both: coverage 0.5, and alpha from L at k = 4."""
    drafts = accepted(
        [
            Row(
                "second",
                "second",
                "a",
                "code",
                1,
                route="speculative",
                k=2,
                per_step_drafted=[2, 0, 2, 0, 0],
                per_step_accepted=[2, 0, 2, 0, 0],
            )
        ]
    )
    assert drafts.length == pytest.approx(9 / 5)
    assert drafts.coverage_1 == pytest.approx(0.5)  # the last step was cut by the end, and counts nowhere
    assert drafts.alpha == pytest.approx(0.741, abs=0.001)  # a + a^2 + a^3 + a^4 = 4 * 0.5


def test_impossible_step_counts_count_nowhere() -> None:
    """More accepted than drafted is no evidence, and no crash."""
    lie = Row(
        "second",
        "second",
        "a",
        "code",
        1,
        route="speculative",
        k=2,
        per_step_drafted=[1, 1],
        per_step_accepted=[2, 2],
    )
    assert accepted([lie]).alpha is None


def test_failed_requests_are_counted_under_their_prompts_task() -> None:
    """A failure the router said nothing of belongs to the task its prompt had elsewhere, or to unknown."""
    rows = [failed("first", "a"), row("second", "a", tpot_ms=30, task="sql"), failed("first", "b")]
    assert routed_tasks(rows) == {"a": "sql", "b": UNKNOWN_TASK}
    result = figures(rows)
    assert of_task(result, "sql").failed == 1
    assert of_task(result, UNKNOWN_TASK).requests == 0
    assert result.totals.failed == 2
    assert result.totals.classified == 1


def test_answers_are_compared_between_routes_for_greedy_prompts_only() -> None:
    """A sampled prompt may differ between routes; a greedy one is reported when it does."""
    rows = [
        row("second", "a", tpot_ms=30, k=4),
        row("vanilla", "a", tpot_ms=30),
        row("second", "b", tpot_ms=30, k=4, text="one"),
        row("vanilla", "b", tpot_ms=30, text="other"),
        row("second", "c", tpot_ms=30, k=4, text="one"),
        row("vanilla", "c", tpot_ms=30, text="other"),
    ]
    totals = figures(rows, greedy=frozenset("ab")).totals
    assert (totals.greedy_pairs, totals.identical_greedy_pairs) == (2, 1)


def test_the_ratios_interval_holds_the_ratio_and_narrows_with_prompts() -> None:
    """Resampling prompts: few leave it wide."""
    few = [Pair("code", value, 1.0) for value in (0.5, 0.7, 0.9)]
    few_low, few_high = interval(few) or (0, 0)
    many_low, many_high = interval(few * 20) or (0, 0)
    assert few_low < many_low < (ratio(few) or 0) < many_high < few_high
    assert interval(few[:1]) is None


def test_the_sentences_say_what_moved_and_what_it_saved() -> None:
    """Routes first, then the worth with its interval."""
    routing, worth = learned(figures(learning_rows()))
    assert routing == "Learned: code moved to speculation; creative stayed on plain decoding."
    assert "took 75 %" in worth
    assert worth.endswith("25 % of the decode time saved.")


@pytest.mark.parametrize(
    ("second_ms", "verdict"),
    [(80.0, "nothing was gained, it cost 30 %."), (50.0, "no gain that stands out from chance.")],
)
def test_the_sentences_are_honest_about_losses(second_ms: float, verdict: str) -> None:
    """Speculation that cost time, or changed nothing, is said so."""
    assert learned(figures(learning_rows(second_ms=second_ms)))[1].endswith(verdict)


def test_exploring_is_not_taken_for_learning() -> None:
    """A task that speculated only because chance had it try stayed where it was."""
    tried = replace(row("second", "creative-0", tpot_ms=50, k=4, task="creative"), reason="exploration")
    rows = [
        row("first", "creative-0", tpot_ms=50, task="creative"),
        tried,
        row("first", "creative-1", tpot_ms=50, task="creative"),
        row("second", "creative-1", tpot_ms=50, task="creative"),
    ]
    result = figures(rows)
    assert of_task(result, "creative").second_share == 0.5
    assert learned(result)[0] == "No route changed: creative stayed on plain decoding."


def test_the_sentences_do_without_a_comparison() -> None:
    """Nothing ran vanilla: the routing is told, the worth is not invented, the failure is counted."""
    rows = [row("first", "a", tpot_ms=30, k=4), row("second", "a", tpot_ms=30, k=4), failed("second", "b")]
    routing, worth, failures = learned(figures(rows))
    assert routing == "No route changed: code stayed on speculation."
    assert "not known" in worth
    assert failures.startswith("1 of 3 requests failed")


def test_nothing_answered_is_said_and_shown() -> None:
    """All requests failed: table and sentences still come, with dashes."""
    rows = [failed("first", "a"), failed("second", "a"), failed("vanilla", "a")]
    result = figures(rows)
    out = io.StringIO()
    show(Console(file=out, width=120), result, learned(result), rows)
    assert "Nothing was learned" in out.getvalue()
    assert "HTTP 503: no engine" in out.getvalue()


def test_the_table_shows_every_column_uncut_in_80_columns() -> None:
    """The narrowest usual terminal is wide enough for the longest names."""
    rows = [
        row("first", "a", tpot_ms=150, task="summarization"),
        row("second", "a", tpot_ms=125.5, k=4, task="summarization"),
        row("vanilla", "a", tpot_ms=150, task="summarization"),
    ]
    out = io.StringIO()
    show(Console(file=out, width=80), figures(rows), [], rows)
    line = next(line for line in out.getvalue().splitlines() if line.startswith("summarization"))
    assert " ".join(line.split()) == "summarization 1 0 → 100 % ngram 4 0.89 1.00 4.00 125.5 150.0 16 %"


def test_figures_are_json() -> None:
    """Everything but plain values would break --json."""
    document = json.loads(json.dumps(asdict(figures(learning_rows(2)))))
    assert document["tasks"][0].keys() >= {"task", "requests", "second_share", "alpha", "saved"}
    assert document["totals"].keys() >= {"first_ratio", "second_ratio", "failed"}


def test_lines_tell_every_quarter_once() -> None:
    """Four lines a pass, without colour, the last one complete."""
    out = io.StringIO()
    with Lines(Console(file=out, width=120)) as lines:
        lines.begin("first", 10)
        for number in range(10):
            lines.seen(
                failed("first", "x")
                if number == 9
                else row("first", str(number), tpot_ms=1, k=4 * (number % 2))
            )
    told = out.getvalue().splitlines()
    assert len(told) == 4
    assert told[-1] == "demo: first pass: 10 of 10, 4 speculative, 5 vanilla, 1 failed"

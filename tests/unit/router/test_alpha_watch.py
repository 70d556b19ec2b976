"""The table of `specroute alpha`, its trends, and watching it."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from router import alpha_watch, cli_alpha
from router.alpha_watch import STORE_AWAY, Answer, ServiceError, Trends, chosen, table, watch
from router.cli import app

pytestmark = pytest.mark.unit


def row(alpha: float | None = 0.5, **changes: Any) -> dict[str, Any]:
    values = {
        "profile": "ngram",
        "task": "code",
        "tenant": None,
        "temperature": None,
        "alpha": alpha,
        "interval": None if alpha is None else [alpha - 0.1, alpha + 0.1],
        "coverage": [] if alpha is None else [0.9],
        "acceptance_length": None if alpha is None else 2.0,
        "steps": 70.0,
        "lifetime": {"requests": 3},
        "arm": {"profile": "ngram", "k": 4, "reason": "gain", "at": 1.0},
    }
    return {**values, **changes}


def answer(*entries: dict[str, Any], store_up: bool = True) -> Answer:
    return {"entries": list(entries), "store_up": store_up}


def printed(shown: Any) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def watched(answers: list[Answer | ServiceError], *, terminal: bool = False, as_json: bool = False) -> str:
    """What a watch prints that sees these answers half a minute apart, and then is interrupted."""
    console = Console(file=io.StringIO(), width=160, height=40, force_terminal=terminal)
    left: Iterator[Answer | ServiceError] = iter(answers)
    now_s = [0.0]

    def fetch() -> Answer:
        found = next(left, None)
        if found is None:
            raise KeyboardInterrupt
        if isinstance(found, ServiceError):
            raise found
        return found

    def sleep(seconds: float) -> None:
        assert seconds == 30
        now_s[0] += seconds

    with pytest.raises(KeyboardInterrupt):
        watch(
            fetch,
            console,
            rows=50,
            interval_s=30,
            clock=lambda: now_s[0],
            sleep=sleep,
            as_json=as_json,
        )
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_row_tells_who_what_and_the_arm() -> None:
    """Task, tenant, temperature and profile; alpha and its interval; the evidence; the arm in use."""
    text = printed(table(answer(row(), row(None, tenant="acme", temperature="low", arm=None)), 10))
    head, total, own = text.splitlines()[:3]
    assert "arm in use" in head
    assert " ".join(total.split()) == "code all ngram all 0.50 0.40 to 0.60 0.90 2.00 70 3 ngram k=4"
    assert " ".join(own.split()) == "code acme ngram low - - - - 70 3 -"
    assert "trend" not in head


def test_of_very_many_rows_those_with_the_most_evidence_are_shown() -> None:
    """In the order of their names, and it is said that there are more."""
    rows = [
        row(task=name, steps=float(steps))
        for name, steps in (("qa", 9), ("code", 5), ("chat", 7), ("sql", 1))
    ]
    lines = printed(table(answer(*rows), 2)).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["chat", "qa"]
    assert "2 more rows" in lines[3]


def test_rows_of_one_task_or_tenant() -> None:
    """Both together, or neither."""
    given = answer(row(), row(tenant="acme"), row(task="qa", tenant="acme"))
    assert len(chosen(given, task=None, tenant=None)["entries"]) == 3
    assert len(chosen(given, task="code", tenant=None)["entries"]) == 2
    assert chosen(given, task="qa", tenant="acme")["entries"] == [row(task="qa", tenant="acme")]


@pytest.mark.parametrize(("now", "arrow"), [(0.61, "↑"), (0.60, "→"), (0.41, "→"), (0.39, "↓")])
def test_an_arrow_means_that_alpha_left_its_interval(now: float, arrow: str) -> None:
    """The interval it had then, from 0.4 to 0.6; a smaller change is within the doubt there was."""
    trends = Trends()
    trends.note([row(0.5)], 0.0)
    trends.note([row(now)], 60.0)
    found = trends.trend(row(now), 60.0)
    assert found is not None
    assert (found.arrow, found.over_s) == (arrow, 60.0)
    assert found.change == pytest.approx(now - 0.5)


def test_trends_look_five_minutes_back() -> None:
    """To what was first seen while the watch is young, and not at all in its first seconds."""
    trends = Trends()
    for second in range(0, 901, 2):
        entry = row(0.5 if second < 300 else 0.7)
        trends.note([entry], second)
        found = trends.trend(entry, second)
        if second < 20:
            assert found is None
        else:
            assert found is not None
            assert found.over_s == pytest.approx(min(second, 300), abs=12)
            assert (found.arrow == "↑") == (300 <= second <= 590 or (found.change > 0.1))
    assert len(trends._seen) == 1
    assert len(next(iter(trends._seen.values()))) < 40


def test_rows_that_are_gone_are_forgotten() -> None:
    """And what has no alpha has no trend."""
    trends = Trends()
    trends.note([row(), row(None, task="qa")], 0.0)
    trends.note([], 30.0)
    assert trends.trend(row(), 60.0) is None
    assert trends.trend(row(None, task="qa"), 60.0) is None


def test_watching_a_pipe_prints_one_table_after_another() -> None:
    """Plainly, without control characters, until interrupted."""
    text = watched([answer(row(0.5)), answer(row(0.7))])
    assert "\x1b" not in text
    assert text.count("arm in use") == 2
    assert "↑ +0.20 in 30s" in text


def test_watching_on_a_terminal_stays_in_place() -> None:
    """The cursor goes back up instead of on."""
    text = watched([answer(row(0.5)), answer(row(0.4)), answer(row(0.39))], terminal=True)
    assert "\x1b[1A" in text
    assert "↓ -0.11 in 1m" in text


def test_a_service_that_goes_away_is_asked_again() -> None:
    """The last figures stay, with what is wrong; a store that is away is told too."""
    text = watched([answer(row()), ServiceError("gone: is it running?"), answer(row(), store_up=False)])
    assert text.count("arm in use") == 3
    assert text.count("gone: is it running?") == 1
    assert text.count(STORE_AWAY) == 1


def test_watching_as_json_lines() -> None:
    """An answer a line, rows with their trends."""
    first, second = map(json.loads, watched([answer(row(0.5)), answer(row(0.5))], as_json=True).splitlines())
    assert first["entries"][0]["trend"] is None
    assert second["entries"][0]["trend"] == {"arrow": "→", "change": 0.0, "over_s": 30.0}


def test_a_service_that_never_answered_is_an_error() -> None:
    """There is nothing to show."""

    def fetch() -> Answer:
        raise ServiceError("nobody there")

    with pytest.raises(ServiceError):
        watch(fetch, Console(file=io.StringIO()), rows=1, interval_s=1, clock=lambda: 0.0, sleep=print)


def test_ctrl_c_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """With exit code 0 and no word."""

    def interrupted(fetch: Callable[[], Answer], *_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_alpha, "watch", interrupted)
    result = CliRunner().invoke(app, ["alpha", "--watch"])
    assert (result.exit_code, result.output) == (0, "")
    assert alpha_watch.WINDOW_S == 300

"""The demo's figures, sentences, prompts and client, without a service."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import httpx
import pytest
import yaml
from rich.console import Console

from policies.loading import parse_policy
from policies.tasks import TASKS
from router.demo.client import Service, readiness
from router.demo.comparison import Pair, interval, ratio
from router.demo.figures import UNKNOWN_TASK, Figures, TaskFigures, accepted, figures, routed_tasks
from router.demo.learned import learned
from router.demo.own_server import demo_policy
from router.demo.passes import CONCURRENCY, Sender, paired, stages
from router.demo.progress import Lines
from router.demo.prompts import Prompt, chosen, load_prompts
from router.demo.rows import Pass, Phase, Row
from router.demo.table import show
from router.policy_source import default_policy
from router.requests import read_request

pytestmark = pytest.mark.unit

TOKENS = 21


def row(
    phase: Phase,
    prompt: str,
    *,
    tpot_ms: float,
    k: int = 0,
    task: str = "code",
    tokens: int = TOKENS,
    accepts: int = 3,
    text: str = "same",
    beside: Pass = "second",
) -> Row:
    """A finished request: with k > 0 every step drafts k tokens and accepts `accepts` of them."""
    steps = (tokens - 1) // (1 + accepts) if k else tokens - 1
    return Row(
        phase=phase,
        beside=beside if phase == "vanilla" else phase,
        prompt=prompt,
        intended_task=task,
        concurrency=1,
        task=task,
        route="speculative" if k else "vanilla",
        profile="ngram" if k else "vanilla",
        k=k,
        reason="override" if phase == "vanilla" else "alpha_above",
        tokens=tokens,
        decode_s=tpot_ms / 1000 * (tokens - 1),
        steps=steps,
        per_step_drafted=[k] * steps,
        per_step_accepted=[accepts if k else 0] * steps,
        text=text,
    )


def failed(phase: Phase, prompt: str, task: str = "code") -> Row:
    """A request of which nothing is known but that it failed."""
    return Row(phase, "first", prompt, task, 1, error="HTTP 503: no engine")


def learning_rows(count: int = 12, *, second_ms: float = 25.0) -> list[Row]:
    """Code moves to speculation in the second pass, creative stays vanilla; vanilla takes 50 ms a token."""
    rows = []
    for number in range(count):
        rows += [
            row("first", f"code-{number}", tpot_ms=50),
            row("second", f"code-{number}", tpot_ms=second_ms, k=4),
            row("vanilla", f"code-{number}", tpot_ms=50),
            row("vanilla", f"code-{number}", tpot_ms=50, beside="first"),
            row("first", f"creative-{number}", tpot_ms=50, task="creative"),
            row("second", f"creative-{number}", tpot_ms=50, task="creative"),
            row("vanilla", f"creative-{number}", tpot_ms=50, task="creative"),
            row("vanilla", f"creative-{number}", tpot_ms=50, task="creative", beside="first"),
        ]
    return rows


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


def test_prompts_cover_every_task_with_at_least_five() -> None:
    """At least 60 prompts, each with an id of its own."""
    prompts = load_prompts()
    assert len(prompts) >= 60
    assert len({prompt.id for prompt in prompts}) == len(prompts)
    counts = Counter(prompt.task for prompt in prompts)
    assert set(counts) == set(TASKS) - {"other"}
    assert min(counts.values()) >= 5


@pytest.mark.parametrize("prompt", load_prompts(), ids=lambda prompt: prompt.id)
def test_prompts_are_short_chats_the_router_reads(prompt: Prompt) -> None:
    """20 to 250 words in, 32 to 96 tokens out; sampled prompts have a seed; the last word is the user's."""
    assert 20 <= sum(len(message["content"].split()) for message in prompt.messages) <= 250
    assert 32 <= prompt.max_tokens <= 96
    assert prompt.temperature == 0 or prompt.seed is not None
    assert all(set(message) == {"role", "content"} for message in prompt.messages)
    assert prompt.messages[-1]["role"] == "user"
    body = json.dumps(prompt.body("m")).encode()
    read = read_request("/v1/chat/completions", {}, body)
    assert read.stream
    assert not read.unsupported
    assert read.hints.task is None


def test_few_prompts_still_cover_many_tasks() -> None:
    """The first 14 are of 14 tasks, whatever the seed; another seed is another order."""
    prompts = load_prompts()
    for seed in range(5):
        assert len({prompt.task for prompt in chosen(prompts, limit=14, seed=seed)}) == 14
    whole = chosen(prompts, limit=None, seed=1)
    assert sorted(prompt.id for prompt in whole) == sorted(prompt.id for prompt in prompts)
    assert whole != chosen(prompts, limit=None, seed=2)
    assert whole == chosen(prompts, limit=None, seed=1)


def test_stages_mix_the_concurrency_and_lose_no_prompt() -> None:
    """1, 2, 3 and 4 at once all happen, in any run of 20 prompts."""
    prompts = chosen(load_prompts(), limit=None, seed=0)
    found = list(stages(prompts))
    assert [prompt for stage in found for prompt in stage.prompts] == prompts
    assert {stage.concurrency for stage in stages(prompts[:20])} == set(CONCURRENCY)


def test_both_ways_come_first_equally_often_within_a_task() -> None:
    """Whatever favours the first or the second of a pair favours both alike."""
    prompts = load_prompts()
    orders = paired(prompts)
    for task in set(TASKS) - {"other"}:
        firsts = Counter(orders[prompt.id][0] for prompt in prompts if prompt.task == task)
        assert abs(firsts[True] - firsts[False]) <= 1


def test_the_demos_policy_differs_only_in_allowing_overrides() -> None:
    """The default preset, with a name of its own and overrides."""
    text = demo_policy(default_policy())
    demo, default = yaml.safe_load(text), yaml.safe_load(default_policy())
    assert parse_policy(text, "demo.yaml").spec.allow_overrides
    assert {**demo["spec"], "allow_overrides": False} == default["spec"]


DETAILS = {
    "route": "speculative",
    "profile": "ngram",
    "k": 4,
    "task": "code",
    "reason": "alpha_above",
    "measured_s": 0.5,
    "per_step_drafted": [4],
    "per_step_accepted": [1],
}


def event(value: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


CHUNK = event({"choices": [{"delta": {"content": "a b c"}}]})
LAST = event({"choices": [], "usage": {"completion_tokens": 3}, "specroute": DETAILS}) + b"data: [DONE]\n\n"


async def asked(answer: Callable[[httpx.Request], httpx.Response]) -> Row:
    """The row of a request that was answered so."""
    async with Service("http://service", httpx.MockTransport(answer)) as service:
        return await service.ask(load_prompts()[0], model="m", beside="first", concurrency=1)


async def test_tokens_come_from_usage_and_time_from_the_details() -> None:
    """A single chunk held three tokens: what counts is usage, and the engine's own clock."""
    result = await asked(lambda _: httpx.Response(200, content=CHUNK + LAST))
    assert (result.error, result.tokens, result.decode_s, result.text) == (None, 3, 0.5, "a b c")
    assert result.tpot_s == pytest.approx(0.25)
    assert result.speculative


@pytest.mark.parametrize(
    ("status", "content", "error"),
    [
        (503, b'{"error": {"message": "no engine"}}', "HTTP 503: no engine"),
        (502, b"<html>Bad gateway</html>", "HTTP 502: <html>Bad gateway</html>"),
        (200, CHUNK + event({"error": {"message": "it died"}}), "it died"),
        (200, CHUNK, "the answer ended without usage and details"),
        (200, b"data: {broken\n\n", None),
        (200, b'data: {"choices": [7]}\n\n', None),
        (200, b"data: [1]\n\n", None),
    ],
)
async def test_every_failure_is_a_row(status: int, content: bytes, error: str | None) -> None:
    """Errors before, in and after the stream, and answers in no form of OpenAI's."""
    result = await asked(
        lambda _: httpx.Response(status, content=content, headers={"X-Specroute-Task": "sql"})
    )
    assert result.error
    assert error is None or result.error == error
    assert result.task == "sql"


async def test_an_unreachable_service_is_a_row() -> None:
    """The connection broke: nothing is raised."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    assert (await asked(refuse)).error == "refused"


def test_whatever_is_no_url_has_no_service() -> None:
    """Bad input is told apart from a service that starts."""
    for url in ("foo", "http://", "ftp://x", "http://127.0.0.1:1", "http://[::1"):
        assert readiness(url) == "absent"


async def test_the_task_is_never_told_and_vanilla_only_in_its_pass() -> None:
    """Requests ask for details and leave route and task to the router, but for the vanilla pass."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=CHUNK + LAST)

    prompts = chosen(load_prompts(), limit=20, seed=0)
    told: list[Row] = []
    async with Service("http://service", httpx.MockTransport(answer)) as service:
        sender = Sender(service, "m", told.append)
        rows = await sender.send(prompts, "first", with_vanilla=False)
        rows += await sender.send(prompts, "second", with_vanilla=True)
    assert rows == told
    assert Counter(row.phase for row in rows) == {"first": 20, "second": 20, "vanilla": 20}
    assert Counter(request.headers["x-specroute-route"] for request in seen) == {"auto": 40, "vanilla": 20}
    assert all(request.headers["x-specroute-details"] == "1" for request in seen)
    assert not any("x-specroute-task" in request.headers for request in seen)


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

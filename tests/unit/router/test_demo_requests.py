"""The demo's prompts, its policy, and its client: what it asks, and the row that each answer makes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import yaml

from policies.loading import parse_policy
from policies.tasks import TASKS
from router.demo.client import Service, readiness
from router.demo.own_server import demo_policy
from router.demo.passes import CONCURRENCY, Sender, paired, stages
from router.demo.prompts import Prompt, chosen, load_prompts
from router.demo.rows import Row
from router.policy_source import default_policy
from router.requests import read_request

pytestmark = pytest.mark.unit


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

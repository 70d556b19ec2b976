"""A client's view of the running service: OpenAI's official client, over Ray Serve, with fake engines."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from services import MODEL, Service
from waiting import ANSWER_S, until_async

pytestmark = pytest.mark.integration

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me about rivers."}]
CONTRACT = {"route", "k", "task", "profile", "reason", "policy"}


def test_chat(service: Service) -> None:
    """The streamed text is the unstreamed one, and both come to the tokens that were asked for."""
    client = service.client()
    whole = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=40)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 40
    chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=40, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(text.split()) == 40
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason == "length"


def test_completions(service: Service) -> None:
    """The same for text completions."""
    client = service.client()
    whole = client.completions.create(model=MODEL, prompt="Once upon", max_tokens=30)
    chunks = client.completions.create(model=MODEL, prompt="Once upon", max_tokens=30, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert len(whole.choices[0].text.split()) == 30


def test_models(service: Service) -> None:
    """The one model, under its public name."""
    assert [model.id for model in service.client().models.list()] == [MODEL]


def test_the_headers_of_the_contract(service: Service) -> None:
    """On chat and completions, streamed and not; the client's request id comes back once."""
    for stream in (False, True):
        raw = service.client().chat.completions.with_raw_response.create(
            model=MODEL,
            messages=MESSAGES,
            max_tokens=4,
            stream=stream,
            extra_headers={"X-Request-Id": f"mine-{stream}", "X-Specroute-Task": "legal"},
        )
        found = {name.removeprefix("x-specroute-") for name in raw.headers if name.startswith("x-specroute-")}
        assert found == CONTRACT
        assert raw.headers["x-specroute-task"] == "legal"
        assert raw.headers.get_list("x-request-id") == [f"mine-{stream}"]
        assert raw.headers["x-specroute-policy"].startswith("shared@")


@pytest.mark.parametrize("k", [0, 1, 3, 8])
def test_details(service: Service, k: int) -> None:
    """They add up, streamed and not, and no step drafted more than the k that was asked for."""
    headers = {
        "X-Specroute-Details": "1",
        "X-Specroute-K": str(k),
        "X-Specroute-Route": "speculative" if k else "vanilla",
    }
    client = service.client()
    whole = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=40, extra_headers=headers
    )
    *_, last = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=40, stream=True, extra_headers=headers
    )
    for answer in (whole, last):
        assert answer.model_extra is not None
        details: dict[str, Any] = answer.model_extra["specroute"]
        assert (details["k"], details["reason"]) == (k, "override")
        assert details["route"] == ("speculative" if k else "vanilla")
        assert 1 + details["steps"] + details["accepted"] == 40
        assert details["drafted"] == sum(details["per_step_drafted"])
        assert max(details["per_step_drafted"]) <= k
        assert all(
            a <= d for a, d in zip(details["per_step_accepted"], details["per_step_drafted"], strict=True)
        )


def post(service: Service, headers: dict[str, str] | None = None, **body: object) -> httpx.Response:
    given = {"model": MODEL, "messages": MESSAGES, "max_tokens": 4} | body
    return httpx.post(f"{service.url}/v1/chat/completions", json=given, headers=headers, timeout=ANSWER_S)


def get(service: Service, path: str) -> httpx.Response:
    return httpx.get(f"{service.url}{path}", timeout=ANSWER_S)


def post_bytes(service: Service, content: bytes) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/chat/completions", content=content, timeout=ANSWER_S)


@pytest.mark.parametrize(
    ("status", "ask"),
    [
        (400, lambda s: post_bytes(s, b"{broken")),
        (400, lambda s: post_bytes(s, b"[" * 100_000)),
        (400, lambda s: post_bytes(s, b"\xff\xfe")),
        (400, lambda s: post_bytes(s, b"")),
        (413, lambda s: post_bytes(s, b"x" * 9 * 2**20)),
        (400, lambda s: post(s, max_tokens="many")),
        (400, lambda s: post(s, max_tokens=-1)),
        (404, lambda s: post(s, model="unknown")),
        (400, lambda s: post(s, {"X-Specroute-Route": "fastest"})),
        (400, lambda s: post(s, {"X-Specroute-K": "33"})),
        (400, lambda s: post(s, {"X-Specroute-K": "-1"})),
        (400, lambda s: post(s, {"X-Specroute-Task": "juggling"})),
        (400, lambda s: post(s, {"X-Specroute-Tenant": "a b"})),
        (400, lambda s: post(s, metadata={"task": ["x"]})),
        (404, lambda s: get(s, "/v1/embeddings")),
        (405, lambda s: get(s, "/v1/chat/completions")),
        (400, lambda s: get(s, "/admin/v1/decisions?limit=x")),
    ],
)
def test_errors_are_openais_and_the_service_goes_on(
    service: Service, status: int, ask: Callable[[Service], httpx.Response]
) -> None:
    """One error object with the right status; the next request works."""
    response = ask(service)
    assert response.status_code == status
    assert response.json()["error"].keys() >= {"message", "type", "param", "code"}
    assert service.answers()


def test_the_client_raises_its_own_errors(service: Service) -> None:
    """The official client recognises them."""
    with pytest.raises(openai.NotFoundError, match="unknown"):
        service.client().chat.completions.create(model="unknown", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="X-Specroute-K"):
        service.client().chat.completions.create(
            model=MODEL, messages=MESSAGES, extra_headers={"X-Specroute-K": "x"}
        )


def load(service: Service, name: str) -> int:
    """In-flight requests of all pools, as the router counts them or as the engines do."""
    pools = service.get("/admin/v1/replicas")["pools"]
    return sum(pool[name] if name == "in_flight" else pool["status"][name] for pool in pools)


async def abandoned(url: str, reads: int) -> None:
    """A stream whose client goes away after so many events."""
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 20_000, "stream": True}
    async with (
        httpx.AsyncClient(timeout=ANSWER_S) as client,
        client.stream("POST", f"{url}/v1/chat/completions", json=body) as response,
    ):
        lines = response.aiter_lines()
        for _ in range(reads):
            await anext(lines)


async def running(service: Service, name: str, count: int) -> None:
    """Return when so many requests are under way; counted where `load` looks."""
    await until_async(lambda: asyncio.to_thread(lambda: load(service, name) == count))


async def abandoned_unread(service: Service) -> None:
    """A request whose client goes away once it is under way, with nothing of its answer seen."""
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 20_000}
    async with httpx.AsyncClient(timeout=ANSWER_S) as client:
        asked = asyncio.create_task(client.post(f"{service.url}/v1/chat/completions", json=body))
        await running(service, "in_flight", 1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


async def test_clients_that_leave_hold_nothing(service: Service) -> None:
    """After 30 disconnects mid-stream, and some before the first byte, all counts are soon back at 0."""

    def decisions() -> dict[str, str]:
        found = service.get("/admin/v1/decisions?limit=1000")["decisions"]
        return {decision["request_id"]: decision["result"] for decision in found}

    before = decisions().keys()
    for _ in range(3):
        await asyncio.gather(*(abandoned(service.url, reads=1 + number) for number in range(10)))
    await running(service, "in_flight", 0)
    for _ in range(3):
        await abandoned_unread(service)
        await running(service, "in_flight", 0)
    await running(service, "running", 0)
    results = Counter(result for request, result in decisions().items() if request not in before)
    assert results == {"cancelled": 33}


async def test_64_streams_at_once(service: Service) -> None:
    """All complete, each with its own text and its whole length."""
    client = AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=ANSWER_S)

    async def one(number: int) -> str:
        stream = await client.completions.create(
            model=MODEL,
            prompt=f"Number {number}",
            max_tokens=50,
            stream=True,
            stream_options={"include_usage": True},
        )
        texts = []
        async for chunk in stream:
            if chunk.usage is not None:
                assert chunk.usage.completion_tokens == 50
            texts += [choice.text for choice in chunk.choices]
        return "".join(texts)

    texts = await asyncio.gather(*(one(number) for number in range(64)))
    assert all(len(text.split()) == 50 for text in texts)
    assert len(set(texts)) == 64
    await running(service, "in_flight", 0)
    await client.close()


async def test_over_the_limit_there_is_a_429(service: Service) -> None:
    """The 65th request of a tenant is told when to come back; the others are not disturbed."""
    url = f"{service.url}/v1/completions"
    body = {"model": MODEL, "prompt": "x", "max_tokens": 20_000}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=ANSWER_S) as client:
        allowed = [asyncio.create_task(client.post(url, json=body)) for _ in range(64)]
        try:
            await until_async(lambda: asyncio.to_thread(lambda: admitted(service) == 64))
            refused = await asyncio.gather(*(client.post(url, json=body) for _ in range(8)))
        finally:
            for task in allowed:
                task.cancel()
            await asyncio.gather(*allowed, return_exceptions=True)
    assert {response.status_code for response in refused} == {429}
    assert all(response.headers["retry-after"] for response in refused)
    await until_async(lambda: asyncio.to_thread(lambda: admitted(service) == 0))
    assert service.answers()


def admitted(service: Service) -> int:
    """Requests that have a slot or wait for one."""
    lines = [line.split() for line in get(service, "/metrics").text.splitlines()]
    names = {"specroute_admission_running", "specroute_admission_waiting"}
    return round(sum(float(line[1]) for line in lines if line[0] in names))


def test_metrics_tell_of_the_requests(service: Service) -> None:
    """On the service's own port, under their plain names."""
    assert service.answers()
    text = get(service, "/metrics").text
    assert "specroute_store_up 1.0" in text
    assert 'specroute_requests_total{profile="' in text
    assert json.dumps(service.get("/admin/v1/policy"))

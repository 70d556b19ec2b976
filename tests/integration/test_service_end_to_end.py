"""A client's view of the running service: OpenAI's official client, over Ray Serve, with fake engines."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from services import MODEL, Service, until

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
    return httpx.post(f"{service.url}/v1/chat/completions", json=given, headers=headers, timeout=30)


def post_bytes(service: Service, content: bytes) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/chat/completions", content=content, timeout=30)


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
        (404, lambda s: httpx.get(f"{s.url}/v1/embeddings")),
        (405, lambda s: httpx.get(f"{s.url}/v1/chat/completions")),
        (400, lambda s: httpx.get(f"{s.url}/admin/v1/decisions?limit=x")),
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


async def abandoned(url: str, *, stream: bool, reads: int) -> None:
    """A request whose client goes away after so many events; before the first one with none."""
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 20_000, "stream": stream}
    async with httpx.AsyncClient() as client:
        try:
            async with (
                asyncio.timeout(30 if reads else 0.3),
                client.stream("POST", f"{url}/v1/chat/completions", json=body) as response,
            ):
                lines = response.aiter_lines()
                for _ in range(reads):
                    await anext(lines)
        except TimeoutError:
            assert not reads


async def test_clients_that_leave_hold_nothing(service: Service) -> None:
    """After 50 disconnects mid-stream, and some before the first byte, all counts are soon back at 0."""
    before = len(service.get("/admin/v1/decisions?limit=1000")["decisions"])
    for _ in range(5):
        leaving = [abandoned(service.url, stream=True, reads=1 + number) for number in range(10)]
        early = [abandoned(service.url, stream=False, reads=0)]
        await asyncio.gather(*leaving, *early)
    waited = await asyncio.to_thread(until, lambda: load(service, "in_flight") == 0, 3)
    waited += await asyncio.to_thread(until, lambda: load(service, "running") == 0, 4)
    print(f"all let go after {waited:.2f} s")
    decisions = service.get("/admin/v1/decisions?limit=1000")["decisions"]
    results = [decision["result"] for decision in decisions][: len(decisions) - before]
    assert results.count("cancelled") == 55


async def test_64_streams_at_once(service: Service) -> None:
    """All complete, each with its own text and its whole length."""
    client = AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=60)

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
    await asyncio.to_thread(until, lambda: load(service, "in_flight") == 0, 3)
    await client.close()


def test_over_the_limit_there_is_a_429(service: Service) -> None:
    """The 65th request of a tenant is told when to come back; the others are not disturbed."""

    async def burst() -> list[httpx.Response]:
        body = {"model": MODEL, "prompt": "x", "max_tokens": 300}
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:
            return await asyncio.gather(
                *(client.post(f"{service.url}/v1/completions", json=body) for _ in range(80))
            )

    responses = asyncio.run(burst())
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 64
    assert all(response.headers["retry-after"] for response in responses if response.status_code == 429)
    assert service.answers()


def test_metrics_tell_of_the_requests(service: Service) -> None:
    """On the service's own port, under their plain names."""
    assert service.answers()
    text = httpx.get(f"{service.url}/metrics").text
    assert "specroute_store_up 1.0" in text
    assert 'specroute_requests_total{profile="' in text
    assert json.dumps(service.get("/admin/v1/policy"))

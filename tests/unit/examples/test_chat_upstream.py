"""How the chat backend asks specroute, and when it asks again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
from chat_backend.conversation import messages
from chat_backend.settings import Settings
from chat_backend.upstream import Event, Made, NoAnswerError, Piece, Upstream, Waiting, connected
from chat_fakes import FakeSpecroute, Part, end, error_event, refuses, says, text

pytestmark = pytest.mark.unit

JITTER = 0.4


class Asked:
    """What came of one question."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.error: NoAnswerError | None = None
        self.slept: list[float] = []

    @property
    def said(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Piece))

    @property
    def details(self) -> dict[str, Any]:
        return {
            name: value
            for event in self.events
            if isinstance(event, Made)
            for name, value in event.details.items()
        }


async def ask(fake: FakeSpecroute, *, deadline_s: float = 120, **settings: Any) -> Asked:
    asked = Asked()
    values = Settings(model="m", **settings)

    async def sleep(seconds: float) -> None:
        asked.slept.append(seconds)

    upstream = Upstream(fake.client(values), values, sleep=sleep, jitter=lambda: JITTER)
    deadline = asyncio.get_running_loop().time() + deadline_s
    try:
        async for event in upstream.answer(messages("s", [], "q"), request_id="r", deadline=deadline):
            asked.events.append(event)
    except NoAnswerError as error:
        asked.error = error
    return asked


async def test_an_answer_and_how_it_was_made() -> None:
    """Pieces as they come; route and k from the headers, the rest from the last event, nothing but what is meant."""
    made = {"task": "code", "k": 5, "acceptance_length": 2.5, "tenant": "acme", "policy": "p@1"}
    asked = await ask(FakeSpecroute(says("Hel", "lo", **made)))
    assert asked.said == "Hello"
    assert asked.details == {
        "request_id": "r-1",
        "route": "speculative",
        "k": 5,
        "task": "code",
        "acceptance_length": 2.5,
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "finish_reason": "stop",
    }


async def test_what_is_asked_for() -> None:
    """The model, the length, the id of the attempt, the time that is left, and the hint where one is set."""
    fake = FakeSpecroute(says("x"))
    await ask(fake, task="support", max_answer_tokens=9, show_details=False, deadline_s=60)
    (body,), (headers,) = fake.bodies, fake.headers
    assert (body["model"], body["max_completion_tokens"], body["stream"]) == ("m", 9, True)
    assert headers["x-request-id"] == "r-1"
    assert headers["x-specroute-task"] == "support"
    assert 0 < int(headers["x-specroute-deadline"].removesuffix("s")) <= 60
    assert "x-specroute-details" not in headers


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_what_passes_is_asked_again_when_specroute_says(status: int) -> None:
    """After Retry-After and a little more; whoever waits is told."""
    fake = FakeSpecroute(refuses(status, "3"), says("Hello"))
    asked = await ask(fake)
    assert asked.said == "Hello"
    assert asked.slept == pytest.approx([3 * 1.1])
    assert asked.events[0] == Waiting(asked.slept[0])
    assert [headers["x-request-id"] for headers in fake.headers] == ["r-1", "r-2"]


@pytest.mark.parametrize(
    "first",
    [
        httpx2.ConnectError("refused"),
        httpx2.ConnectTimeout("nobody"),
        [httpx2.ReadError("reset")],
        [error_event(503)],
        [b""],
        refuses(503, "soon"),
    ],
    ids=["refused", "timeout", "reset", "error", "empty", "no number"],
)
async def test_without_a_word_to_wait_it_waits_longer_each_time(
    first: list[Part] | httpx2.Response | Exception,
) -> None:
    """While nothing was shown: a connection that fails, an error in place of the first text."""
    asked = await ask(FakeSpecroute(first, httpx2.ConnectError("refused"), says("Hello")))
    assert asked.said == "Hello"
    assert asked.slept == pytest.approx([0.5 * 1.1, 1.0 * 1.1])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 504])
async def test_what_does_not_pass_is_not_asked_again(status: int) -> None:
    """And nothing of the inside is told."""
    fake = FakeSpecroute(refuses(status))
    asked = await ask(fake)
    assert asked.slept == []
    assert asked.error is not None
    assert "inside" not in str(asked.error)


@pytest.mark.parametrize(
    "broken",
    [error_event(503), httpx2.ReadError("reset"), b"", b"data: no JSON\n\n"],
    ids=["error", "reset", "ended", "garbage"],
)
async def test_an_answer_that_breaks_off_is_not_begun_anew(broken: Part) -> None:
    """What was shown stays, and the end is told from a complete one."""
    fake = FakeSpecroute([text("Hel"), broken])
    asked = await ask(fake)
    assert asked.said == "Hel"
    assert "broke off" in str(asked.error)
    assert len(fake.bodies) == fake.closed == 1


async def test_it_gives_up_after_some_attempts() -> None:
    """As many as the settings say."""
    fake = FakeSpecroute(*[refuses(503, "1")] * 5)
    asked = await ask(fake, attempts=2)
    assert len(fake.bodies) == 2
    assert "busy" in str(asked.error)


async def test_it_does_not_wait_beyond_the_deadline() -> None:
    """Who would have to wait longer is told at once."""
    asked = await ask(FakeSpecroute(refuses(503, "30")), deadline_s=20)
    assert asked.slept == []
    assert asked.error is not None


async def test_half_a_character_is_replaced() -> None:
    """JSON can hold it, neither the store nor UTF-8 can."""
    assert (await ask(FakeSpecroute([text("a\ud83d"), end()]))).said == "a?"


async def test_the_key_is_read_for_every_request(tmp_path: Path) -> None:
    """So it can be replaced while the backend runs; without a file none is needed."""
    file = tmp_path / "key"
    settings = Settings(model="m", specroute_key_file=file)
    fake = FakeSpecroute(says("a"), says("b"))
    client = connected(settings).with_options(http_client=httpx2.AsyncClient(transport=fake))
    for key in ("first", "second"):
        file.write_text(f"{key}\n")
        stream = await client.chat.completions.create(model="m", messages=[], stream=True)
        assert [chunk async for chunk in stream]
    assert [headers["authorization"] for headers in fake.headers] == ["Bearer first", "Bearer second"]

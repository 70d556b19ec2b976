"""The chat backend as a browser sees it, specroute being a fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from chat_backend import app as backend
from chat_backend.settings import Settings
from chat_fakes import KEY, FakeSpecroute, Part, Reading, end, parsed, refuses, says, text
from waiting import until_async

pytestmark = pytest.mark.unit

HOSTILE = "<img src=x onerror=alert(1)>\n\nevent: end\ndata: {}\r\n\u2028\0"


Ended = Callable[[], Awaitable[None]]
Started = Callable[..., Awaitable["Chat"]]


class Chat:
    """The backend, and a browser that has its session."""

    def __init__(self, app: Any, fake: FakeSpecroute, http: httpx.AsyncClient, end: Ended) -> None:
        self.app = app
        self.end = end
        self.fake = fake
        self.http = http
        self.id: str | None = None

    async def open(self) -> dict[str, Any]:
        """What the page shows after it was loaded."""
        found: dict[str, Any] = (await self.http.get("/api/conversation")).raise_for_status().json()
        self.id = found["id"]
        return found

    async def turns(self) -> list[tuple[str, str, str]]:
        return [(turn["question"], turn["answer"], turn["state"]) for turn in (await self.open())["turns"]]

    async def ask(self, question: str) -> tuple[str, dict[str, Any]]:
        """What was streamed, and the end."""
        body = {"text": question, "conversation": self.id}
        answer = (await self.http.post("/api/questions", json=body)).raise_for_status()
        assert answer.headers["content-type"].startswith("text/event-stream")
        *events, (kind, last) = parsed(answer.text)
        assert kind == "end"
        self.id = last["conversation"]
        return "".join(data.get("text", "") for _, data in events), last

    def reading(self, question: str) -> Reading:
        """A question whose answer is read event by event."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())
        return Reading(self.app, "/api/questions", {"text": question, "conversation": self.id}, cookie)


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Started]:
    """Starts a backend with what specroute answers in turn."""
    async with AsyncExitStack() as stack:

        async def start(*answers: Any, **settings: Any) -> Chat:
            values = Settings(**{"model": "m", "database": tmp_path / "chat.sqlite3"} | settings)
            fake = FakeSpecroute(*answers)
            app = backend.create_app(values, fake.client(values))
            own = await stack.enter_async_context(AsyncExitStack())
            await own.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app)
            http = httpx.AsyncClient(transport=transport, base_url="https://chat.test")
            chat = Chat(app, fake, await own.enter_async_context(http), own.aclose)
            await chat.open()
            return chat

        yield start


async def test_the_second_question_comes_with_what_was_said(started: Started) -> None:
    """Word for word, and the answers' making with them."""
    chat = await started(says("Hel", "lo", task="chat"), says("Bye"))
    assert await chat.ask("  One? ") == (
        "Hello",
        {
            "state": "complete",
            "conversation": chat.id,
            "message": None,
            "turn": (await chat.open())["turns"][0],
        },
    )
    await chat.ask("Two?")
    assert chat.fake.conversations == [["One?"], ["One?", "Hello", "Two?"]]
    assert await chat.turns() == [("One?", "Hello", "complete"), ("Two?", "Bye", "complete")]
    assert (await chat.open())["turns"][0]["details"]["task"] == "chat"


async def test_long_conversations_are_shown_whole_and_sent_in_part(started: Started) -> None:
    """The model is told the latest turns only."""
    chat = await started(*[says("a" * 50)] * 4, max_history_chars=120)
    for number in range(4):
        await chat.ask(f"{number}")
    assert len(await chat.turns()) == 4
    assert chat.fake.conversations[-1] == ["2", "a" * 50, "3"]


async def test_whoever_leaves_ends_the_answer(started: Started) -> None:
    """In the engine too; what was seen stays in the conversation."""
    chat = await started([text("Hel"), asyncio.Event()], says("x"))
    async with chat.reading("One?") as answer:
        assert await answer.next() == ("piece", {"text": "Hel"})
        assert (await chat.open())["answering"]
    await until_async(lambda: chat.fake.closed)

    async def is_saved() -> bool:
        return not (await chat.open())["answering"]

    await until_async(is_saved)
    assert await chat.turns() == [("One?", "Hel", "stopped")]
    await chat.ask("Two?")
    assert chat.fake.conversations[-1] == ["One?", "Hel", "Two?"]


async def test_stop_ends_the_answer_and_saves_it(started: Started) -> None:
    """It is saved when the answer to stop is there, and the stream ends in order."""
    chat = await started([text("Hel"), asyncio.Event()])
    async with chat.reading("One?") as answer:
        await answer.next()
        assert (await chat.http.post("/api/stop", json={})).status_code == 200
        assert chat.fake.closed == 1
        assert await chat.turns() == [("One?", "Hel", "stopped")]
        kind, last = await answer.next()
    assert (kind, last["state"], last["turn"]["answer"]) == ("end", "stopped", "Hel")
    assert last["turn"]["details"]["route"] == "speculative"
    assert (await chat.http.post("/api/stop", json={})).status_code == 200


async def test_stop_before_the_first_word_gives_the_question_back(started: Started) -> None:
    """Nothing is kept of it."""
    chat = await started([asyncio.Event()], says("x"))
    async with chat.reading("One?") as answer:
        await until_async(lambda: chat.fake.bodies)
        await chat.http.post("/api/stop", json={})
        kind, last = await answer.next()
    assert (kind, last["state"], last["turn"]) == ("end", "unanswered", None)
    assert await chat.turns() == []
    chat.id = None  # a page that lost the connection heard of no conversation
    await chat.ask("Two?")
    assert chat.fake.conversations[-1] == ["Two?"]


async def test_one_answer_at_a_time_per_session_and_so_many_of_all(started: Started) -> None:
    """Others are refused at once."""
    chat = await started([asyncio.Event()], max_answers_at_once=1)
    async with chat.reading("One?"):
        await until_async(lambda: chat.fake.bodies)
        body = {"text": "Two?", "conversation": None}
        assert (await chat.http.post("/api/questions", json=body)).status_code == 409
        chat.http.cookies.clear()
        await chat.open()
        refused = await chat.http.post("/api/questions", json=body)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    "answer",
    [refuses(401), refuses(400), [end()], [b'data: "no chunk"\n\n']],
    ids=["key", "too long", "empty", "garbage"],
)
async def test_a_question_without_an_answer_is_not_kept(started: Started, answer: list[Part]) -> None:
    """Models' templates refuse two questions in a row; the reader is told why and asks again."""
    chat = await started(answer, says("Yes"))
    said, last = await chat.ask("One?")
    assert (said, last["state"], last["turn"]) == ("", "unanswered", None)
    assert last["message"]
    assert "inside" not in last["message"]
    await chat.ask("Two?")
    assert chat.fake.conversations[-1] == ["Two?"]


async def test_whoever_waits_for_a_busy_service_is_told(started: Started) -> None:
    """An event says how long."""
    chat = await started(refuses(429, "0"), says("Yes"))
    async with chat.reading("One?") as answer:
        events = [event async for event in answer.events()]
    assert events[0] == ("waiting", {"seconds": 0.0})
    assert events[-1][1]["state"] == "complete"


async def test_a_new_conversation_begins_with_nothing(started: Started) -> None:
    """Also while an answer is under way; another window's questions to the old one are refused."""
    chat = await started(says("a"), [text("b"), asyncio.Event()], says("c"))
    await chat.ask("One?")
    old = chat.id
    async with chat.reading("Two?") as answer:
        await answer.next()
        assert (await chat.http.post("/api/conversation", json={})).json()["id"] != old
    assert await chat.turns() == []
    new, chat.id = chat.id, old
    _, last = await chat.ask("Old?")
    assert "reload" in last["message"]
    chat.id = new
    await chat.ask("New?")
    assert chat.fake.conversations[-1] == ["New?"]


async def test_a_full_conversation_says_so(started: Started) -> None:
    """And asks nobody."""
    chat = await started(says("a"), max_turns=1)
    await chat.ask("One?")
    _, last = await chat.ask("Two?")
    assert "new one" in last["message"]
    assert len(chat.fake.bodies) == 1


async def test_hostile_text_stays_text(started: Started) -> None:
    """What looks like markup or like events passes unchanged through the stream, the store and back."""
    chat = await started([text(HOSTILE), end(task=HOSTILE)], says("x"))
    question = HOSTILE.strip()
    said, last = await chat.ask(HOSTILE)
    assert said == last["turn"]["answer"] == HOSTILE
    assert last["turn"]["details"]["task"] == HOSTILE
    assert await chat.turns() == [(question, HOSTILE, "complete")]


async def test_sessions_are_apart(started: Started) -> None:
    """Another cookie, or a made-up one, sees nothing."""
    chat = await started(says("a"))
    await chat.ask("One?")
    for cookie in ("", "a" * 43, "../../etc", "x" * 5000):
        chat.http.cookies.clear()
        answer = await chat.http.get("/api/conversation", headers={"Cookie": f"__Host-session={cookie}"})
        assert answer.json()["turns"] == []


async def test_the_cookie_is_for_our_page_alone(started: Started) -> None:
    """Scripts cannot read it, other sites cannot send it; it is renewed while it is used."""
    chat = await started()
    first = await chat.http.get("/api/conversation")
    chat.http.cookies.clear()
    second = await chat.http.get("/api/conversation")
    for answer in (first, second):
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-session=")
        for attribute in ("HttpOnly", "Secure", "SameSite=strict", "Path=/", "Max-Age=604800"):
            assert attribute in cookie
    assert first.headers["set-cookie"] != second.headers["set-cookie"]
    assert "set-cookie" not in (await chat.http.get("/")).headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://chat.test"}, 200),
    ],
)
async def test_other_sites_change_nothing(started: Started, headers: dict[str, str], status: int) -> None:
    """The browser says where a request comes from."""
    chat = await started()
    for path in ("/api/stop", "/api/conversation"):
        assert (await chat.http.post(path, json={}, headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("", 422),
        ("[]", 422),
        ("{", 422),
        ('{"text": "x"}', 422),
        ('{"text": "", "conversation": null}', 422),
        ('{"text": " \\n ", "conversation": null}', 422),
        ('{"text": "\\ud83d", "conversation": null}', 422),
        ('{"text": ["x"], "conversation": null}', 422),
        ('{"text": "x", "conversation": {"a": 1}}', 422),
        ('{"text": "x", "conversation": null, "model": "other"}', 422),
        ('{"text": "' + "x" * 101 + '", "conversation": null}', 413),
        ('{"text": "' + "x" * 5000 + '", "conversation": null}', 413),
        ("[" * 2000, 400),
    ],
)
async def test_bad_input_is_refused_in_a_line(started: Started, content: str, status: int) -> None:
    """Nobody is asked anything."""
    chat = await started(max_question_chars=100)
    headers = {"Content-Type": "application/json"}
    answer = await chat.http.post("/api/questions", content=content, headers=headers)
    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)
    assert len(answer.json()["error"]) <= 500
    assert chat.fake.bodies == []


async def test_bodies_are_json_of_a_known_length(started: Started) -> None:
    """A form, which other sites can send, is none; a body without an end is not read."""
    chat = await started()
    question = b'{"text": "x", "conversation": null}'
    answer = await chat.http.post("/api/questions", content=question, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422

    async def chunks() -> AsyncIterator[bytes]:
        yield question

    answer = await chat.http.post("/api/questions", content=chunks())
    assert answer.status_code == 411


async def test_without_a_session_nothing_is_asked(started: Started) -> None:
    """Whoever refuses the cookie is told so."""
    chat = await started()
    chat.http.cookies.clear()
    body = {"text": "x", "conversation": None}
    assert (await chat.http.post("/api/questions", json=body)).status_code == 401
    assert (await chat.http.post("/api/conversation", json={})).status_code == 401


async def test_every_answer_is_closed_to_others_and_none_has_the_key(started: Started) -> None:
    """No inline script, no other host, no frame; what belongs to a session is not kept by caches."""
    chat = await started(says("a"))
    body = {"text": "x", "conversation": None}
    answers = [
        await chat.http.get(path) for path in ("/", "/static/chat.js", "/api/conversation", "/nothing")
    ]
    answers += [await chat.http.post("/api/questions", json=body), await chat.http.post("/api/stop")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert KEY not in answer.text + str(answer.headers)
        if "/api/" in str(answer.url):
            assert answer.headers["cache-control"] == "no-store"
    assert [(await chat.http.get(path)).status_code for path in ("/docs", "/openapi.json")] == [404, 404]


async def test_a_lost_store_is_told(started: Started, tmp_path: Path) -> None:
    """The probe fails, the page says so, and nothing is asked that could not be kept."""
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        await started(database=tmp_path / "missing" / "chat.sqlite3")
    (tmp_path / "missing").mkdir()
    chat = await started(database=tmp_path / "missing" / "chat.sqlite3")
    assert (await chat.http.get("/readyz")).status_code == 200
    assert (await chat.http.get("/healthz")).status_code == 200


async def test_answers_under_way_are_saved_at_the_end(started: Started) -> None:
    """A backend that ends stops them, and the next one has them."""
    chat = await started([text("Hel"), asyncio.Event()])
    cookies = chat.http.cookies
    async with chat.reading("One?") as answer:
        await answer.next()
        await chat.end()
    chat = await started()
    chat.http.cookies = cookies
    assert await chat.turns() == [("One?", "Hel", "stopped")]

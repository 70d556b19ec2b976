"""The overhead bench's client and engine, and its command with the direct side alone."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace

import httpx
import pytest

from bench.overhead.client import AnswerError, Timed, ask_all
from bench.overhead.command import main
from bench.overhead.engine import App, Message, answer
from bench.overhead.processors import processor_seconds
from bench.overhead.run import Load, measured
from bench.overhead.sides import Started, available, free_port

pytestmark = pytest.mark.unit

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = (b'data: {"a": 1}\n\n', b'data: {"b": 2}\n\n', b"data: [DONE]\n\n")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def framed(*parts: bytes) -> bytes:
    """A body in HTTP's chunks, with its end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@asynccontextmanager
async def serving(*responses: bytes, close: bool = False) -> AsyncIterator[int]:
    """The port of a server that answers each request of a connection with the next response."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for response in responses:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            for start in range(0, len(response), 7):  # pieces as they may come over a line
                writer.write(response[start : start + 7])
                await writer.drain()
        if close:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def asked(port: int, requests: int = 1) -> list[Timed]:
    return await ask_all(port, clients=1, requests=requests, chunks=2, number=0)


async def test_answers_are_timed_and_counted_on_one_connection() -> None:
    """The first event comes before the end, whatever the pieces; events are counted, not pieces."""
    whole = HEAD + framed(*EVENTS)
    async with serving(whole, HEAD + framed(b"".join(EVENTS))) as port:
        answers = await asked(port, requests=2)
    assert [timed.events for timed in answers] == [3, 3]
    assert all(0 < timed.first_s <= timed.total_s for timed in answers)


async def test_a_connection_that_was_closed_between_answers_is_made_anew() -> None:
    """Servers may do that; only within an answer it is an error."""
    async with serving(HEAD + framed(*EVENTS), close=True) as port:
        assert len(await asked(port, requests=1)) == 1


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nbusy", "429"),
        (b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n" + framed(b"data: [DONE]"), "500"),
        (HEAD + framed(EVENTS[0], EVENTS[1]), "without an end"),
        (HEAD + framed(EVENTS[0], EVENTS[2]), "2 events"),
    ],
)
async def test_what_is_no_whole_stream_is_refused(response: bytes, said: str) -> None:
    """An error that comes fast must not count as a fast answer."""
    async with serving(response) as port:
        with pytest.raises(AnswerError, match=said):
            await asked(port)


async def test_an_answer_that_breaks_off_is_refused() -> None:
    """The message says so, instead of waiting for the rest."""
    async with serving(HEAD + b"5\r\ndata:", close=True) as port:
        with pytest.raises(AnswerError, match="ended within"):
            await asked(port)


async def test_the_engine_streams_as_many_chunks_as_it_is_asked_for() -> None:
    """One part per step; the last one brings the end."""
    parts = [part async for part in answer(b'{"max_tokens": 3}', 0.0)]
    assert len(parts) == 3
    assert [part.count(b'"content": " ') for part in parts] == [1, 1, 1]
    assert parts[-1].endswith(b"data: [DONE]\n\n")


async def test_the_engine_tells_that_all_is_well() -> None:
    """Any GET is answered: routers ask for its health or its models before they send requests."""
    transport = httpx.ASGITransport(App(lambda body: answer(body, 0.0)))
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        assert (await client.get("/health")).status_code == httpx.codes.OK
        assert (await client.get("/v1/models")).json()["data"][0]["object"] == "model"


async def test_the_engine_lets_a_server_start_and_end() -> None:
    """Ray Serve insists on the lifespan events of ASGI."""
    told: list[str] = []
    events = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Message:
        return {"type": next(events)}

    async def send(message: Message) -> None:
        told.append(message["type"])

    await App(lambda body: answer(body, 0.0))({"type": "lifespan"}, receive, send)
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_processor_time_is_counted_below_a_process() -> None:
    """A side is all of its processes: what a child has taken is its parent's, too."""
    busy = "import sys; sum(range(200_000)); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=PIPE, stdout=PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        taken = processor_seconds({"child": child.pid})
        assert taken["child"] > 0
        both = processor_seconds({"all": os.getpid()})
        assert both["all"] > taken["child"]
        child.communicate(b"")
    assert processor_seconds({"child": child.pid}) == {"child": 0.0}


def test_peers_that_are_not_installed_are_left_out(tmp_path: Path) -> None:
    """`direct` is always there: all others are compared with it."""
    program = tmp_path / "litellm" / "bin" / "litellm"
    program.parent.mkdir(parents=True)
    program.touch()
    assert available(["vllm-router", "litellm"], tmp_path) == (["direct", "litellm"], ["vllm-router"])
    assert available(["vllm-router"], None) == (["direct"], ["vllm-router"])
    assert free_port() > 0


def test_the_command_measures_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of the direct side alone: its engine is started, asked and ended."""
    file = tmp_path / "overhead.json"
    words = "--sides direct --chunks 2 --clients 1 2 --repeats 2 --requests 2 --step-ms 0.1 --json --output"
    assert main([*words.split(), str(file)]) == 0
    report = json.loads(file.read_text())
    assert json.loads(capsys.readouterr().out) == report
    assert report["machine"]["cores"] > 0
    assert report["versions"]["uvicorn"]
    assert [(row["side"], row["clients"], row["events"]) for row in report["cells"]] == [
        ("direct", 1, 5.0),
        ("direct", 2, 5.0),
    ]
    assert len(report["blocks"]) == 4


async def test_a_peer_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures would be of some loads only; the others go on. Any other side's failure ends the run."""

    async def ask_all(port: int, **_: int) -> list[Timed]:
        if port == 2:
            raise AnswerError("overwhelmed")
        return [Timed(0.001, 0.002, 3)]

    monkeypatch.setattr("bench.overhead.run.ask_all", ask_all)
    monkeypatch.setattr("bench.overhead.run._SETTLE_S", 0.0)
    process = SimpleNamespace(pid=os.getpid())
    sides = {
        name: Started(name, port, process)  # type: ignore[arg-type]
        for name, port in (("direct", 1), ("litellm", 2))
    }
    blocks, failed = await measured(sides, Load((2,), (1,), 1, 2))
    assert {block.side for block in blocks} == {"direct"}
    assert "overwhelmed" in failed["litellm"]
    with pytest.raises(AnswerError, match="overwhelmed"):
        await measured({"specroute": Started("specroute", 2, process)}, Load((2,), (1,), 1, 1))  # type: ignore[arg-type]


async def test_where_one_client_fails_none_goes_on() -> None:
    """What they still asked would slow down what is measured next."""
    async with serving(HEAD + framed(*EVENTS), b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n") as port:
        with pytest.raises(AnswerError, match="500"):
            await ask_all(port, clients=3, requests=6, chunks=2, number=0)
    assert not [task for task in asyncio.all_tasks() if "object _client " in str(task.get_coro())]

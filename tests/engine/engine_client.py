"""The test's end of an engine process, and answers as tests read them."""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.cost import StepLoad, StepMoments
from replicas.frames import Call, Ending, Frame
from replicas.hardware import cpu_environment
from replicas.profiles import Profile

_HOST = Path(__file__).with_name("engine_host.py")
_ROOT = Path(__file__).parents[2]
_START_S = 1200.0
_ANSWER_S = 600.0
"""Until the next frame: a whole answer of 300 texts is one, and machines may be busy."""

CHUNK_TOKENS = 512
KV_BLOCKS = 26
BLOCK_TOKENS = 128


VANILLA = Profile(name="vanilla", engine_args={"max_num_batched_tokens": CHUNK_TOKENS})
NGRAM = Profile(
    name="ngram",
    method="ngram",
    k=8,
    # A KV cache that sixteen long answers overflow, and a prompt budget that a page of text exceeds.
    engine_args={"max_num_batched_tokens": CHUNK_TOKENS, "num_gpu_blocks_override": KV_BLOCKS},
)


class Reply:
    """What comes back for one command."""

    def __init__(self, host: EngineHost, number: int) -> None:
        self._host = host
        self._number = number
        self.arrivals: queue.Queue[tuple[str, Any]] = queue.Queue()

    def __iter__(self) -> Iterator[Any]:
        while True:
            kind, value = self.arrivals.get(timeout=_ANSWER_S)
            if kind == "item":
                yield value
            elif kind == "error":
                raise value
            else:
                return

    def cancel(self) -> None:
        """Give the request up and wait until the engine has let go of it."""
        self._host.send("cancel", self._number)
        while self.arrivals.get(timeout=_ANSWER_S)[0] == "item":
            pass


class Answer:
    """A whole answer, from its frames."""

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = frames
        self.status = frames[0].status
        self.content_type = frames[0].content_type
        self.data = b"".join(frame.data for frame in frames)
        self.token_ids = [token for frame in frames for token in frame.token_ids]
        packed = b"".join(frame.prompt_token_ids for frame in frames)
        self.prompt_ids: list[int] = np.frombuffer(packed, "<u4").tolist()
        assert frames[-1].ending is not None
        self.ending: Ending = frames[-1].ending

    @property
    def body(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.data)
        return decoded

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a stream, which must end with `[DONE]`."""
        lines = self.data.decode().split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]

    @property
    def text(self) -> str:
        """The first choice's text, however it came."""
        bodies = self.events if self.content_type.startswith("text/event-stream") else [self.body]
        choices = [choice for body in bodies for choice in body["choices"] if choice["index"] == 0]
        return "".join(
            (choice.get("delta") or choice.get("message") or {}).get("content") or choice.get("text") or ""
            for choice in choices
        )


class EngineHost:
    """The test's end of one engine process."""

    def __init__(self, profile: Profile, core: int, folder: Path, scratch: Path) -> None:
        self.core = core
        self.profile = profile
        self.log = scratch / f"{profile.name}.log"
        self._numbers = itertools.count()
        self._replies: dict[int, Reply] = {}
        self._sending = threading.Lock()
        self._started = self._expect(next(self._numbers))
        self._ids = itertools.count()
        listener = Listener(str(scratch / f"{profile.name}.socket"))
        environment = os.environ | cpu_environment(profile, [core])
        environment |= {
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "INFO",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH")))),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(_HOST), listener.address, profile.model_dump_json(), str(folder)],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        threading.Thread(target=self._read, args=(listener,), daemon=True).start()
        self._connection: Connection[Any, Any] | None = None

    def wait_until_ready(self) -> None:
        """Return when the engine answers."""
        kind, value = self._started.arrivals.get(timeout=_START_S)
        if kind != "item":
            pytest.fail(f"engine {self.profile.name} did not start: {value}\n{self.log.read_text()[-4000:]}")

    def send(self, name: str, argument: Any = None) -> Reply:
        """Start a command."""
        assert self._connection is not None
        number = next(self._numbers)
        reply = self._expect(number)
        with self._sending:
            self._connection.send((number, name, argument))
        return reply

    def start(
        self, body: dict[str, Any] | bytes, *, k: int = 0, path: str = "", details: bool = False
    ) -> Reply:
        """Start a request; `path` follows from the body when it is left out."""
        if not path:
            path = "/v1/chat/completions" if b"messages" in _encoded(body) else "/v1/completions"
        call = Call(f"test-{next(self._ids)}", path, _encoded(body), k, details, prompt_tokens=True)
        return self.send("serve", call)

    def answer(
        self, body: dict[str, Any] | bytes, *, k: int = 0, path: str = "", details: bool = False
    ) -> Answer:
        """The whole answer to one request."""
        return Answer(list(self.start(body, k=k, path=path, details=details)))

    def state(self) -> dict[str, Any]:
        """What the engine is doing now."""
        state: dict[str, Any]
        (state,) = self.send("state")
        return state

    def passes(self) -> tuple[list[tuple[StepLoad, float]], StepMoments]:
        """The records of target passes since the last call, and the moments of all."""
        ((records, moments, refused),) = self.send("passes")
        assert not refused
        return records, StepMoments.from_list(moments)

    def rehearse(self) -> StepMoments:
        """What the engine times by itself while it is idle."""
        (moments,) = self.send("rehearse")
        return StepMoments.from_list(moments)

    def metric(self, name: str) -> float:
        """The sum of one of vLLM's own Prometheus counters."""
        page = self.answer(b"", path="/metrics").data.decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))

    def stop(self) -> None:
        """End the process."""
        if self._connection is not None:
            self.send("quit")
        if self.process.poll() is None:
            try:
                self.process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _expect(self, number: int) -> Reply:
        self._replies[number] = Reply(self, number)
        return self._replies[number]

    def _read(self, listener: Listener) -> None:
        self._connection = listener.accept()
        try:
            while True:
                number, kind, value = self._connection.recv()
                self._replies[number].arrivals.put((kind, value))
        except (EOFError, OSError) as error:
            for reply in list(self._replies.values()):
                reply.arrivals.put(("error", error))


def _encoded(body: dict[str, Any] | bytes) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()

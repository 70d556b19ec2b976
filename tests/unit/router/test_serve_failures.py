"""What Ray Serve's errors say of a replica, and how its streams end."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fakes import last, more, opening, settled
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve.exceptions import BackPressureError

from replicas.frames import Call, Frame, Parts, ReplicaBusyError, ReplicaError, parted
from router.serve_pools import ServePool, _translated

pytestmark = pytest.mark.unit


def task_error(cause: Exception) -> RayTaskError:
    """As it comes out of another process."""
    error = RayTaskError("serve", "Traceback …\nlast line", cause)
    found = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert isinstance(found, RayTaskError)
    return found


def test_a_replica_whose_engine_is_gone_tells_its_name() -> None:
    """It raises the error itself, with its name in it."""
    found = _translated(task_error(ReplicaError("the engine core has ended", replica="a1")))
    assert isinstance(found, ReplicaError)
    assert (found.replica, found.process) == ("a1", "")


def test_a_dead_replica_is_known_by_its_actor() -> None:
    """The process said nothing; Ray knows which it was."""
    actor = bytes(range(16))
    found = _translated(ActorUnavailableError("gone", actor))
    assert isinstance(found, ReplicaError)
    assert (found.replica, found.process) == ("", actor.hex())
    unknown = _translated(ActorDiedError())
    assert isinstance(unknown, ReplicaError)
    assert (unknown.replica, unknown.process) == ("", "")


def test_a_full_queue_and_a_bug_are_no_deaths() -> None:
    """One is for the client to hear, the other for the log: another replica would make it too."""
    assert isinstance(
        _translated(BackPressureError(num_queued_requests=1, max_queued_requests=1)), ReplicaBusyError
    )
    bug = task_error(KeyError("x"))
    assert _translated(bug) is bug


class Stream:
    """A handle whose one stream has these frames, and ends when it may."""

    def __init__(self, *frames: Frame) -> None:
        self._frames = frames
        self.may_end = asyncio.Event()
        self.failure: Exception | None = None
        self.state = "open"

    def options(self, **_: Any) -> Stream:
        """The same handle."""
        return self

    def remote(self, *_: Any) -> Stream:
        """The stream."""
        return self

    async def __aiter__(self) -> AsyncGenerator[Parts, None]:
        for frame in self._frames:
            yield parted(frame)
        await self.may_end.wait()
        if self.failure is not None:
            raise self.failure
        self.state = "ended"

    def cancel(self) -> None:
        """The replica is told to give up."""
        self.state = "cancelled"


async def test_nobody_waits_for_a_stream_to_end_whose_last_frame_is_there() -> None:
    """It is read to its end all the same: what is dropped before would be cancelled."""
    stream = Stream(opening(), more(), last())
    frames = [frame async for frame in ServePool(stream).serve(Call("r", "/", b"", 0))]  # type: ignore[arg-type]
    assert (frames, stream.state) == ([opening(), more(), last()], "open")
    stream.may_end.set()
    assert await settled(lambda: stream.state == "ended")


async def test_a_stream_that_fails_after_its_last_frame_is_let_go() -> None:
    """Its answer is complete; nobody hears of it."""
    stream = Stream(opening(), last())
    stream.failure = ActorDiedError()
    assert len([frame async for frame in ServePool(stream).serve(Call("r", "/", b"", 0))]) == 2  # type: ignore[arg-type]
    stream.may_end.set()
    assert await settled(lambda: stream.state == "cancelled")


async def test_a_stream_that_is_left_before_its_last_frame_is_cancelled() -> None:
    """So that the engine does not go on for nobody."""
    stream = Stream(opening(), more(), last())
    frames = ServePool(stream).serve(Call("r", "/", b"", 0))  # type: ignore[arg-type]
    await anext(frames)
    await frames.aclose()
    assert stream.state == "cancelled"

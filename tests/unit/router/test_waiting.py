"""Reading frames until a deadline: who reads, and when, may change from frame to frame."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from replicas.frames import Frame, ReplicaError
from router.waiting import Deadline, Wait

pytestmark = pytest.mark.unit


async def frames(*pauses_s: float) -> AsyncGenerator[Frame, None]:
    for number, pause_s in enumerate(pauses_s):
        await asyncio.sleep(pause_s)
        yield Frame(str(number).encode())


def deadline(after_s: float) -> Deadline:
    return Deadline(asyncio.get_running_loop().time() + after_s)


async def test_frames_in_time_are_read_to_the_end() -> None:
    """By whichever task asks."""
    until, given = deadline(30), frames(0, 0, 0)
    read = [await asyncio.create_task(until.read(given)) for _ in range(4)]
    assert [frame.data if frame else None for frame in read] == [b"0", b"1", b"2", None]
    until.cancel()


async def test_a_frame_that_is_late_is_not_waited_for() -> None:
    """And the task that waited goes on as if it had never been cancelled."""
    until, given = deadline(0.02), frames(0, 30)
    assert await until.read(given) is not None
    with pytest.raises(TimeoutError):
        await until.read(given)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_deadline_that_passes_between_two_frames_ends_the_next() -> None:
    """A client that reads slowly has no longer than others."""
    until, given = deadline(0.01), frames(0, 0)
    assert await until.read(given) is not None
    await asyncio.sleep(0.03)
    with pytest.raises(TimeoutError):
        await until.read(given)


async def test_a_cancelled_deadline_ends_nothing() -> None:
    """What is left of the stream may be read without it."""
    until, given = deadline(0.01), frames(0.03)
    until.cancel()
    assert await until.read(given) is not None


async def test_a_client_that_goes_away_is_no_deadline() -> None:
    """Also where both come at once."""
    for both in (False, True):
        until = deadline(30)
        reading = asyncio.create_task(until.read(frames(30)))
        await asyncio.sleep(0)
        reading.cancel()
        if both:
            until.give_up()
        with pytest.raises(asyncio.CancelledError):
            await reading
        until.cancel()


async def test_an_engine_that_is_given_up_is_told_apart_from_the_deadline() -> None:
    """One wait within the other, as requests have them; where both end at once the request has no time left."""

    async def through(wait: Wait) -> AsyncGenerator[Frame, None]:
        given = frames(30)
        while (frame := await wait.next_of(given, 0.0)) is not None:
            yield frame

    for late, error in ((False, ReplicaError), (True, TimeoutError)):
        wait, until = Wait(0.0), deadline(30)
        reading = asyncio.create_task(until.read(through(wait)))
        await asyncio.sleep(0)
        wait.give_up()
        if late:
            until.give_up()
        with pytest.raises(error):
            await reading
        until.cancel()

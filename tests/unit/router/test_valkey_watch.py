"""When the embedded store is started again."""

from __future__ import annotations

import asyncio

import pytest

from router.valkey import EmbeddedValkeyError
from router.valkey_watch import keep_alive

pytestmark = pytest.mark.unit


class Server:
    """Has ended, runs, or cannot be started, look by look; then the test is over."""

    def __init__(self, looks: list[bool | Exception]) -> None:
        self.looks = looks

    def revive(self) -> bool:
        if not self.looks:
            raise asyncio.CancelledError
        ended = self.looks.pop(0)
        if isinstance(ended, Exception):
            raise ended
        return ended


async def pauses(looks: list[bool | Exception]) -> list[float]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with pytest.raises(asyncio.CancelledError):
        await keep_alive(Server(looks), sleep)
    return slept


async def test_a_server_that_ends_once_is_looked_at_as_often_as_before() -> None:
    """It was started again within half a second; after one longer pause all is as it was."""
    assert await pauses([False, True, False, False]) == [0.5, 0.5, 1.0, 0.5, 0.5]


async def test_a_server_that_keeps_ending_is_left_alone_for_longer_and_longer() -> None:
    """Whether it ends or cannot be started; never for more than a minute."""
    found = await pauses([True, EmbeddedValkeyError("no disk")] * 5)
    assert found == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


async def test_the_watch_survives_what_nobody_expected() -> None:
    """It is a server that cannot be started, as far as it can tell."""
    assert await pauses([RuntimeError("no thread"), False, False]) == [0.5, 1.0, 0.5, 0.5]


async def test_half_a_minute_without_an_end_forgets_earlier_ones() -> None:
    """The pause after the next end is the first one again."""
    found = await pauses([True, True, True, *[False] * 60, True, False])
    assert found[:4] == [0.5, 1, 2, 4]
    assert found[-2:] == [1.0, 0.5]

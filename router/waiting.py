"""A call's waiting for its frames, which can be given up from elsewhere.

An `asyncio.timeout` that is rescheduled, or one for every frame, would do the same, and take 5 µs more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from replicas.frames import Frame, ReplicaError


def _engine_silent() -> ReplicaError:
    return ReplicaError("the engine stopped answering during the request")


class _Reading:
    """Reads frames until it is given up; whoever reads one need not read the next."""

    __slots__ = ("_error", "_given_up", "_task")

    def __init__(self, error: Callable[[], Exception]) -> None:
        """`error` makes what is raised when it is given up."""
        self._error = error
        self._task: asyncio.Task[Any] | None = None
        self._given_up = False

    async def read(self, frames: AsyncGenerator[Frame, None]) -> Frame | None:
        """The next frame, None after the last; raises when that is given up, now or before.

        Frames that came before it was given up, and that nobody has read yet, are lost.
        """
        if self.given_up:
            raise self._error()
        self._task = task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        try:
            return await anext(frames, None)
        except asyncio.CancelledError:
            if self._given_up and task is not None and task.uncancel() <= before:
                raise self._error() from None
            raise
        finally:
            self._task = None

    @property
    def given_up(self) -> bool:
        """Whether nothing more is expected."""
        return self._given_up

    @property
    def waits(self) -> bool:
        """Whether somebody reads now."""
        return self._task is not None

    def give_up(self) -> None:
        """End the reading: the one that is now, or the next one."""
        if not self._given_up:
            self._given_up = True
            if self._task is not None:
                self._task.cancel()


class Wait(_Reading):
    """One call's wait for the frames of its engine. What is lost with it is made again elsewhere."""

    __slots__ = ("_since_s", "replica", "sent_s")

    def __init__(self, sent_s: float) -> None:
        super().__init__(_engine_silent)
        self.sent_s = self._since_s = sent_s
        """When the call was sent."""
        self.replica = ""
        """Who answers it, once the first frame told."""

    def next_of(self, frames: AsyncGenerator[Frame, None], now_s: float) -> Coroutine[Any, Any, Frame | None]:
        """The next frame, None after the last. Raises ReplicaError when the wait for it is given up."""
        self._since_s = now_s
        return self.read(frames)

    def silent_s(self, now_s: float) -> float:
        """How long it has waited for its next frame; 0 while its client reads the last one."""
        return now_s - self._since_s if self.waits else 0.0


class Deadline(_Reading):
    """Reads frames until a moment of the loop's clock, then raises TimeoutError. Cancel it at the end."""

    __slots__ = ("_timer",)

    def __init__(self, until_s: float) -> None:
        super().__init__(TimeoutError)
        self._timer = asyncio.get_running_loop().call_at(until_s, self.give_up)

    def cancel(self) -> None:
        """Wait for nothing any more."""
        self._timer.cancel()

"""When the passes of a fake engine are over."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """The passes of one answer, from when it is made; `on_time` as in `FakeSettings`."""

    def __init__(self, *, on_time: bool) -> None:
        """The first pass begins now."""
        self._on_time = on_time
        self.over_s = time.monotonic()
        """When the last pass is over by its schedule, by the monotonic clock."""

    def late(self, seconds: float) -> bool:
        """Whether the next pass, which takes `seconds`, would be over by now."""
        return self._on_time and seconds > 0 and self.over_s + seconds <= time.monotonic()

    async def spend(self, seconds: float) -> float:
        """Wait for the end of the next pass; returns how long the pass took."""
        began_s = time.monotonic()
        if not self._on_time:
            await asyncio.sleep(seconds)
            return time.monotonic() - began_s
        self.over_s += seconds
        await asyncio.sleep(max(0.0, self.over_s - began_s))
        return seconds

"""Starts the embedded store again when it has ended by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from router.valkey import EmbeddedValkeyError

_log = logging.getLogger(__name__)

_LOOK_S = 0.5
_LONGEST_PAUSE_S = 60.0
_STEADY_LOOKS = 60


class Revivable(Protocol):
    """What `keep_alive` needs of a server."""

    def revive(self) -> bool:
        """See `router.valkey.EmbeddedValkey.revive`."""
        ...


async def keep_alive(server: Revivable, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Look at the server twice a second, for ever; start it again where it has ended.

    One that keeps ending is left alone for 0.5 s, 1 s, 2 s … 60 s; half a minute without an end forgets that.
    """
    pause_s, steady = _LOOK_S, 0
    while True:
        await sleep(pause_s if not steady else _LOOK_S)
        try:
            ended = server.revive()
        except EmbeddedValkeyError as error:
            _log.error("%s; statistics stay in memory meanwhile", error)
            ended = True
        except Exception:  # noqa: BLE001 - a watch that ended would leave the store down for good
            _log.exception("the embedded Valkey: unexpected failure; it is looked at again")
            ended = True
        else:
            if ended:
                _log.warning("the embedded Valkey had ended: started again")
        if ended:
            pause_s, steady = min(2 * pause_s, _LONGEST_PAUSE_S), 0
        else:
            steady += 1
            if steady >= _STEADY_LOOKS:
                pause_s = _LOOK_S

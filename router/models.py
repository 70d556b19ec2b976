"""`GET /v1/models`: vLLM's own answer, from whichever pool gives it."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from replicas.frames import Call, ReplicaError
from router.errors import UnavailableError
from router.pools import Pools

_TIMEOUT_S = 5.0


class ModelList:
    """Asks the pools for the models they serve. All of them serve the same."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    async def body(self) -> bytes:
        """The response body. Raises UnavailableError when no pool answers."""
        for state in self._pools:
            if not state.available:
                continue
            call = Call(request_id=uuid4().hex, path="/v1/models", body=b"", k=0)
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    return b"".join(
                        [frame.data async for frame in self._pools.serve(state.profile.name, call)]
                    )
            except (ReplicaError, TimeoutError):
                continue
        raise UnavailableError("no engine is ready; see /readyz", retry_after_s=5)

"""Tells pools that grow and shrink what is asked of them, and learns from it how many engines they have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, runtime_checkable

from policies.scaling import PoolDemands, PoolLoad
from replicas.frames import ReplicaError
from router.admission import Admission
from router.background import repeated
from router.pool_state import PoolState
from router.pools import Pools

INTERVAL_S: Final = 3.0
_TIMEOUT_S: Final = 5.0

_log = logging.getLogger(__name__)


@runtime_checkable
class ScaledPool(Protocol):
    """A way to reach all replicas of a pool."""

    async def expect(self, router: str, demand: float, limit_s: float) -> int:
        """Tell them what `router` expects to be asked of the pool; how many there are.

        Raises ReplicaError or TimeoutError when that cannot be said now.
        """
        ...


class Scaling:
    """One router's word to the pools with `autoscaling`, every few seconds."""

    def __init__(
        self,
        pools: Pools,
        demands: PoolDemands,
        admission: Admission,
        *,
        router: str,
        clock: Callable[[], float],
    ) -> None:
        self._pools = pools
        self._demands = demands
        self._admission = admission
        self._router = router
        self._clock = clock

    @property
    def wanted(self) -> bool:
        """Whether there is such a pool."""
        return any(state.profile.autoscaling is not None for state in self._pools)

    async def tell(self) -> None:
        """Tell every such pool, once."""
        demands = self._demands.wanted(self._loads(), waiting=self._admission.waiting, now_s=self._clock())
        told = [state for state in self._pools if state.profile.autoscaling is not None]
        await asyncio.gather(*(self._tell(state, demands[state.profile.name]) for state in told))

    async def watch(self, sleep: Callable[[float], Any] = asyncio.sleep) -> None:
        """Tell them for as long as the task lives."""
        await repeated("scaling", self.tell, INTERVAL_S, sleep)

    def _loads(self) -> Mapping[str, PoolLoad]:
        return {
            state.profile.name: PoolLoad(
                in_flight=state.in_flight,
                drafts=state.profile.speculative,
                headroom=state.profile.autoscaling.headroom if state.profile.autoscaling else 0.0,
            )
            for state in self._pools
        }

    async def _tell(self, state: PoolState, demand: float) -> None:
        state.demand = demand
        if not isinstance(state.client, ScaledPool):
            return
        try:
            engines = await state.client.expect(self._router, demand, _TIMEOUT_S)
        except (ReplicaError, TimeoutError):
            return  # whether anybody is there, polls tell
        if engines != state.engines:
            _log.info("pool %s: %d engines, there were %d", state.profile.name, engines, state.engines)
            state.engines = engines

"""The savings report as a part of a router: its hook, its background flush, its endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.routing import Route

from router.learning import Learning
from router.outcomes import Outcome
from router.policy_source import PolicySource
from router.pools import Pools
from router.savings import SavingsBuffer, SavingsSync
from router.savings_capacity import LoadLimit
from router.savings_report import Handler, SavingsReport
from router.savings_store import SavingsStore
from router.tenancy import Tenancy


class Savings:
    """Counts what the report is made of, and answers it.

    `reserved` tells whether an operator's file names a tenant.
    """

    def __init__(
        self,
        *,
        pools: Pools,
        learning: Learning,
        policies: PolicySource,
        tenancy: Tenancy,
        reserved: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._buffer = SavingsBuffer(reserved=reserved)
        self._sync = SavingsSync(self._buffer)
        self._report = SavingsReport(
            self._sync,
            share=lambda: policies.policy.spec.holdout.share,
            capacity=LoadLimit(pools, learning, policies, clock).gather,
            tenant_of=tenancy.tenant,
            clock=clock,
        )

    def on_outcome(self, outcome: Outcome) -> None:
        """Count one request. Dictionary arithmetic: never waits."""
        self._buffer.on_outcome(outcome)

    def routes(self, guarded: Callable[[Handler], Handler]) -> list[Route]:
        """The endpoints; `guarded` makes a handler check that an operator asks."""
        return self._report.routes(guarded)

    def start(self, store: SavingsStore, interval_s: float) -> asyncio.Task[None]:
        """Begin to move counts to the store; the task that does."""
        self._sync.store = store
        return asyncio.create_task(self._sync.run(interval_s), name="share-savings")

    async def close(self) -> None:
        """Move what is left. The task has ended before."""
        await self._sync.close()

"""A router as a process: its background tasks are started and ended here, and Ray Serve runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from ray import serve
from starlette.types import ASGIApp

from replicas.heap import trim_regularly, trimmer
from replicas.logs import configure_logging
from router.background import ended
from router.canary_store import ConnectedCanaries
from router.composition import compose
from router.costs import read_acceptance
from router.drafter_store import ConnectedDrafters
from router.policy_store import RedisPolicyStore
from router.pools import PoolClient
from router.preference_store import ConnectedPreferences
from router.savings_store import ConnectedSavings
from router.seeding import seed
from router.serve_pools import ServePool
from router.settings import EMBEDDED_STORE, DeploymentSettings, StoreSettings, store_dir, store_url
from router.stats_sync import StatsSync, SyncSettings
from router.store import RedisStore
from router.store import StoreSettings as ConnectionSettings
from router.telemetry_ray import RayMirror
from router.valkey import EmbeddedValkey
from router.valkey_watch import keep_alive

_POLL_INTERVAL_S = 1.0


class Router:
    """One router over its pools. `clients` has an entry for every profile of the settings.

    In Ray, `name` tells its metrics there from those of other routers.
    """

    def __init__(
        self, settings: DeploymentSettings, clients: Mapping[str, PoolClient], name: str | None = None
    ) -> None:
        self.parts = compose(settings, clients)
        self.store: RedisStore | None = None
        self._settings = settings
        self._name = name
        self._resources = ExitStack()
        self._sync: StatsSync | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def app(self) -> ASGIApp:
        """The ASGI application."""
        return self.parts.tracer.wrapped(self.parts.api.app())

    async def start(self) -> None:
        """Start the background tasks in the running event loop."""
        parts = self.parts
        if parts.decision_log is not None:
            parts.decision_log.start()
        if parts.capture is not None:
            parts.capture.start()
        settings, model = self._settings.store, self._settings.model.name
        limits = ConnectionSettings(
            timeout_s=settings.timeout_ms / 1000, call_timeout_s=2 * settings.timeout_ms / 1000
        )
        self.store = store = RedisStore(self._store_url(settings), model, settings=limits)
        self._sync = StatsSync(
            parts.buffer, store, settings=SyncSettings(flush_interval_s=settings.flush_interval_s)
        )
        # What earlier runs learned should be known before the first request; a store that is away costs no
        # more than its timeout.
        answered = await self._sync.refresh()
        await parts.policy_sync.start(RedisPolicyStore(store, model))
        # Whether a task has evidence is known only where the store answered.
        if answered and (calibration := self._settings.calibration):
            half_life_s = parts.policies.policy.spec.acceptance.half_life
            seed(
                parts.buffer,
                read_acceptance(Path(calibration)),
                half_life_s=half_life_s,
                now_s=parts.clock(),
            )
        self._sync.start()
        self._tasks += [
            asyncio.create_task(parts.pools.watch(_POLL_INTERVAL_S), name="watch-pools"),
            asyncio.create_task(parts.admission.watch(), name="watch-admission"),
            asyncio.create_task(parts.policy_sync.run(), name="share-policy"),
            asyncio.create_task(
                parts.canary.run(ConnectedCanaries(store, model), _POLL_INTERVAL_S), name="follow-canary"
            ),
            asyncio.create_task(
                parts.drafter_changes.run(ConnectedDrafters(store, model)), name="follow-drafters"
            ),
            asyncio.create_task(parts.replayer.run(), name="replay-answers"),
            asyncio.create_task(parts.dashboard.run(), name="sample-dashboard"),
            parts.savings.start(ConnectedSavings(store, model), settings.flush_interval_s),
            asyncio.create_task(
                parts.learning.keep_fresh(parts.clock, parts.decider.crowds.refresh),
                name="keep-estimates-fresh",
            ),
            *await parts.tenants.start(ConnectedPreferences(store, model), _POLL_INTERVAL_S),
        ]
        if parts.scaling.wanted:
            self._tasks.append(asyncio.create_task(parts.scaling.watch(), name="tell-demand"))
        if self._name is not None:
            mirror = RayMirror(parts.metrics.registry, self._name)
            self._tasks.append(asyncio.create_task(mirror.run(), name="mirror-metrics"))

    async def close(self) -> None:
        """End the background tasks; what was learned is written first."""
        parts = self.parts
        tasks, self._tasks = self._tasks, []
        async with AsyncExitStack() as closing:  # from the last one up, each whatever becomes of the others
            closing.callback(self._resources.close)
            closing.push_async_callback(asyncio.to_thread, parts.tracer.close)
            if parts.decision_log is not None:
                closing.push_async_callback(asyncio.to_thread, parts.decision_log.close)
            if parts.capture is not None:
                closing.push_async_callback(asyncio.to_thread, parts.capture.close)
            if self._sync is not None:
                closing.push_async_callback(self._sync.close)
            closing.push_async_callback(parts.savings.close)
            closing.push_async_callback(parts.policy_sync.close)
            await ended(tasks)

    def _store_url(self, store: StoreSettings) -> str:
        if store.url != EMBEDDED_STORE:
            return store_url(store)
        server = self._resources.enter_context(EmbeddedValkey(store_dir(), join=True))
        self._tasks.append(asyncio.create_task(keep_alive(server), name="keep-store-alive"))
        return server.url


@serve.ingress()
class RouterIngress:
    """The router as a Ray Serve deployment. `engines` are the handles of the pools, by profile."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: DeploymentSettings, engines: Mapping[str, Any]
    ) -> None:
        configure_logging("router")
        trim_regularly(trimmer())
        clients = {name: ServePool(handle) for name, handle in engines.items()}
        self._router = Router(settings, clients, name=serve.get_replica_context().replica_id.unique_id)
        await self._router.start()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._router.app()

    async def __del__(self) -> None:
        if (router := getattr(self, "_router", None)) is not None:
            await router.close()

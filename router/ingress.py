"""The composition root: builds every part of the router, starts its background tasks, ends them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ray import serve
from starlette.types import ASGIApp

from policies.learner import Drafter
from router.admin import Admin
from router.api import Api
from router.costs import read_calibration
from router.deciding import Decider
from router.drifting import Drifting
from router.expectations import Expectations
from router.learning import Learning
from router.logs import configure_logging
from router.models import ModelList
from router.policy_source import PolicySource
from router.pools import PoolClient, Pools
from router.replaying import Replayer, ReplayTotals, copying_pools
from router.serve_pools import ServePool
from router.service import RoutingService
from router.settings import (
    EMBEDDED_STORE,
    DeploymentSettings,
    StoreSettings,
    admin_token,
    store_dir,
)
from router.stats import StatsBuffer
from router.stats_sync import StatsSync, SyncSettings
from router.store import RedisStore
from router.store import StoreSettings as ConnectionSettings
from router.tasks.custom import PolicyClassifier, load_classifier
from router.tasks.trained import trained_classifier
from router.telemetry import Metrics
from router.telemetry_state import StateSources
from router.valkey import EmbeddedValkey

_POLL_INTERVAL_S = 1.0


class Router:
    """One router over its pools. `clients` has an entry for every profile of the settings."""

    def __init__(self, settings: DeploymentSettings, clients: Mapping[str, PoolClient]) -> None:
        self._clock = clock = time.time
        self._settings = settings
        self._pools = Pools(
            [(profile, clients[profile.name]) for profile in settings.profiles],
            calibration=read_calibration(Path(settings.calibration)) if settings.calibration else None,
        )
        expectations = Expectations()
        self._buffer = StatsBuffer(max_tenants=settings.tenancy.max_tenants)
        self._policies = PolicySource(Path(settings.policy.path) if settings.policy.path else None, clock)
        drafters = {profile.name: Drafter(profile.method, profile.k) for profile in settings.profiles}
        self._learning = learning = Learning(self._buffer, drafters)
        self._decider = decider = Decider(
            pools=self._pools, learning=learning, expectations=expectations, clock=clock
        )
        admin = Admin(
            snapshot=self._buffer,
            learning=learning,
            pools=self._pools,
            policies=self._policies,
            predictions=expectations.predictions,
            forecaster=decider.forecaster,
            model=settings.model.name,
            clock=clock,
        )
        replays = ReplayTotals()
        metrics = Metrics(
            StateSources(
                snapshot=self._buffer,
                policies=self._policies,
                predictions=expectations.predictions,
                forecaster=decider.forecaster,
                replays=replays,
                clock=clock,
            )
        )
        copying = copying_pools(settings.profiles, settings.model) if _drafters_copy(settings) else ()
        drifting = Drifting(
            buffer=self._buffer,
            policies=self._policies,
            learning=learning,
            replayed=[pool.profile for pool in copying],
            hooks=(admin.on_drift, metrics.on_drift),
        )
        self._replayer = Replayer(copying, drifting.record_replay, totals=replays, clock=clock)
        self._api = Api(
            settings=settings,
            service=RoutingService(
                policies=self._policies,
                pools=self._pools,
                classifier=PolicyClassifier(
                    trained_classifier(),
                    custom_tasks=lambda: self._policies.custom_tasks,
                    own=load_classifier(settings.classifier) if settings.classifier else None,
                ),
                learning=learning,
                decider=decider,
                replayer=self._replayer,
                hooks=(expectations.on_outcome, admin.on_outcome, metrics.on_outcome, drifting.on_outcome),
                clock=clock,
            ),
            pools=self._pools,
            models=ModelList(self._pools),
            admin=admin,
            metrics=metrics,
            admin_token=admin_token(),
        )
        self._resources = ExitStack()
        self._sync: StatsSync | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def app(self) -> ASGIApp:
        """The ASGI application."""
        return self._api.app()

    async def start(self) -> None:
        """Start the background tasks in the running event loop."""
        store = self._settings.store
        self._sync = StatsSync(
            self._buffer,
            RedisStore(
                self._store_url(store),
                self._settings.model.name,
                settings=ConnectionSettings(
                    timeout_s=store.timeout_ms / 1000, call_timeout_s=2 * store.timeout_ms / 1000
                ),
            ),
            settings=SyncSettings(flush_interval_s=store.flush_interval_s),
        )
        # What earlier runs learned should be known before the first request; a store that is away costs no
        # more than its timeout.
        await self._sync.refresh()
        self._sync.start()
        self._tasks = [
            asyncio.create_task(self._pools.watch(_POLL_INTERVAL_S), name="watch-pools"),
            asyncio.create_task(
                self._policies.watch(self._settings.policy.poll_interval_s), name="watch-policy"
            ),
            asyncio.create_task(self._replayer.run(), name="replay-answers"),
            asyncio.create_task(
                self._learning.keep_fresh(self._clock, self._decider.crowds.refresh),
                name="keep-estimates-fresh",
            ),
        ]

    async def close(self) -> None:
        """End the background tasks; what was learned is written first."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._sync is not None:
            await self._sync.close()
        self._resources.close()

    def _store_url(self, store: StoreSettings) -> str:
        if store.url != EMBEDDED_STORE:
            return store.url
        return self._resources.enter_context(EmbeddedValkey(store_dir())).url


def _drafters_copy(settings: DeploymentSettings) -> bool:
    """Whether n-gram profiles copy what they draft; fake engines mostly accept by luck, whatever the text."""
    return settings.fake_engines is None or settings.fake_engines.copying


@serve.ingress()
class RouterIngress:
    """The router as a Ray Serve deployment. `engines` are the handles of the pools, by profile."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: DeploymentSettings, engines: Mapping[str, Any]
    ) -> None:
        configure_logging("router")
        self._router = Router(settings, {name: ServePool(handle) for name, handle in engines.items()})
        await self._router.start()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._router.app()

    async def __del__(self) -> None:
        if (router := getattr(self, "_router", None)) is not None:
            await router.close()

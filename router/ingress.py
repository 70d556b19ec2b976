"""The composition root: builds every part of the router, starts its background tasks, ends them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from ray import serve
from starlette.types import ASGIApp

from policies.learner import Drafter
from replicas.logs import configure_logging
from router.admin import Admin
from router.admin_canary import CanaryAdmin
from router.admin_policy import PolicyAdmin
from router.admin_policy_draft import PolicyDrafts
from router.admission import Admission
from router.admission_metrics import AdmissionCollector
from router.api import Api
from router.background import ended
from router.canary import Canary
from router.canary_metrics import CanaryCollector
from router.canary_store import ConnectedCanaries
from router.canary_watch import CanaryWatch
from router.costs import read_calibration
from router.dashboard import About, Dashboard, Sources
from router.deciding import Decider
from router.decision_log import opened_log
from router.decision_log_metrics import DecisionLogCollector
from router.drifting import Drifting
from router.expectations import Expectations
from router.guards import OperatorGuard
from router.learning import Learning
from router.models import ModelList
from router.policy_changes import PolicyChanges
from router.policy_source import PolicySource
from router.policy_store import RedisPolicyStore
from router.policy_sync import PolicySync, PolicySyncSettings
from router.pools import PoolClient, Pools
from router.preference_store import ConnectedPreferences
from router.replaying import Replayer, ReplayTotals, copying_pools
from router.savings_part import Savings
from router.savings_store import ConnectedSavings
from router.serve_pools import ServePool
from router.service import RoutingService
from router.settings import (
    EMBEDDED_STORE,
    DeploymentSettings,
    StoreSettings,
    admin_token,
    metrics_token,
    store_dir,
    store_url,
)
from router.shadow import Shadow
from router.stats import StatsBuffer
from router.stats_sync import StatsSync, SyncSettings
from router.store import RedisStore
from router.store import StoreSettings as ConnectionSettings
from router.tasks.custom import PolicyClassifier, load_classifier
from router.tasks.trained import trained_classifier
from router.telemetry import Metrics
from router.telemetry_alpha import AlphaCollector
from router.telemetry_engines import EngineMetrics
from router.telemetry_pools import PoolCollector
from router.telemetry_ray import RayMirror
from router.telemetry_state import StateSources
from router.tenant_api import TenantApi
from router.tenants import Tenants
from router.tracing import opened_tracer
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
        self._name = name
        self._clock = clock = time.time
        self._settings = settings
        self._pools = Pools(
            [(profile, clients[profile.name]) for profile in settings.profiles],
            calibration=read_calibration(Path(settings.calibration)) if settings.calibration else None,
            silence_s=settings.failover.silence_s,
        )
        expectations = Expectations()
        self._tenants = Tenants(settings.tenancy)
        self._buffer = StatsBuffer(max_tenants=settings.tenancy.max_tenants, reserved=self._is_known)
        self._policies = PolicySource(
            Path(settings.policy.path) if settings.policy.path else None,
            clock,
            preferences=self._tenants.preferences.get,
            may_start_without_file=True,
        )
        self._policy_sync = PolicySync(
            self._policies,
            settings=PolicySyncSettings(file_interval_s=settings.policy.poll_interval_s),
            alone=settings.store.url == EMBEDDED_STORE,
            clock=clock,
        )
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
        self.metrics = metrics = Metrics(
            StateSources(
                snapshot=self._buffer,
                policies=self._policies,
                predictions=expectations.predictions,
                forecaster=decider.forecaster,
                replays=replays,
                clock=clock,
            ),
            drafting=[profile.name for profile in settings.profiles if profile.speculative],
        )
        metrics.registry.register(AlphaCollector(self._buffer, learning, self._policies, clock))
        metrics.registry.register(PoolCollector(self._pools, learning))
        self._dashboard = Dashboard(
            Sources(admin, lambda: self._admission, self._policies, self._buffer, clock),
            About(settings.model.name, settings.routers, self._policy_sync.router_id, clock()),
            pools=self._pools,
            predictions=expectations.predictions,
            canary=lambda: self._canary.state,
        )
        copying = copying_pools(settings.profiles, settings.model) if _drafters_copy(settings) else ()
        drifting = Drifting(
            buffer=self._buffer,
            policies=self._policies,
            learning=learning,
            replayed=[pool.profile for pool in copying],
            hooks=(admin.on_drift, metrics.on_drift, self._dashboard.on_drift),
        )
        self._decision_log = log = opened_log(settings.decision_log)
        admin.decisions.log = log
        if log is not None:
            metrics.registry.register(DecisionLogCollector(log))
        self._replayer = Replayer(copying, drifting.record_replay, totals=replays, clock=clock)
        preferences = self._tenants.preferences.get
        canary = Canary(self._policies, clock=clock, preferences=preferences)
        self._canary = CanaryWatch(canary, self._policies, folder=_folder(settings), clock=clock)
        metrics.registry.register(CanaryCollector(self._canary))
        self._admission = Admission(
            self._pools, queue_per_slot=settings.admission.queue_per_slot, routers=settings.routers
        )
        metrics.registry.register(AdmissionCollector(self._admission))
        self._tracer = opened_tracer(settings.model.name)
        self._savings = Savings(
            pools=self._pools,
            learning=learning,
            policies=self._policies,
            tenancy=self._tenants.tenancy,
            reserved=self._is_known,
            clock=clock,
        )
        shadow = Shadow()
        changes = PolicyChanges(self._policy_sync, clock, self._tenants.with_keys)
        policy_admin = PolicyAdmin(self._policies, self._policy_sync, changes)
        self._api = Api(
            settings=settings,
            service=RoutingService(
                policies=canary,
                pools=self._pools,
                classifier=PolicyClassifier(
                    trained_classifier(),
                    custom_tasks=lambda: self._policies.custom_tasks,
                    own=load_classifier(settings.classifier) if settings.classifier else None,
                ),
                learning=learning,
                decider=decider,
                replayer=self._replayer,
                admission=self._admission,
                hooks=(
                    expectations.on_outcome,
                    admin.decisions.on_outcome,
                    metrics.on_outcome,
                    drifting.on_outcome,
                    self._canary.on_outcome,
                    shadow.on_outcome,
                    self._dashboard.on_outcome,
                    self._savings.on_outcome,
                    *((log.on_outcome,) if log else ()),
                ),
                clock=clock,
                tracer=self._tracer,
            ),
            pools=self._pools,
            models=ModelList(self._pools),
            admin=admin,
            metrics=metrics,
            engines=EngineMetrics(self._pools),
            tenants=TenantApi(
                tenancy=self._tenants.tenancy,
                preferences=self._tenants.preferences,
                policies=self._policies,
                alpha=admin.alpha,
            ),
            policy=policy_admin,
            canary=CanaryAdmin(self._canary, shadow, policy_admin),
            guard=OperatorGuard(
                admin_token=admin_token(),
                metrics_token=metrics_token(),
                open_admin=settings.http.open_admin,
            ),
            parts=(self._dashboard, self._savings, PolicyDrafts(self._policies, changes)),
        )
        self._resources = ExitStack()
        self._sync: StatsSync | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def app(self) -> ASGIApp:
        """The ASGI application."""
        return self._tracer.wrapped(self._api.app())

    async def start(self) -> None:
        """Start the background tasks in the running event loop."""
        if self._decision_log is not None:
            self._decision_log.start()
        settings, model = self._settings.store, self._settings.model.name
        limits = ConnectionSettings(
            timeout_s=settings.timeout_ms / 1000, call_timeout_s=2 * settings.timeout_ms / 1000
        )
        store = RedisStore(self._store_url(settings), model, settings=limits)
        self._sync = StatsSync(
            self._buffer, store, settings=SyncSettings(flush_interval_s=settings.flush_interval_s)
        )
        # What earlier runs learned should be known before the first request; a store that is away costs no
        # more than its timeout.
        await self._sync.refresh()
        await self._policy_sync.start(RedisPolicyStore(store, model))
        self._sync.start()
        self._tasks += [
            asyncio.create_task(self._pools.watch(_POLL_INTERVAL_S), name="watch-pools"),
            asyncio.create_task(self._admission.watch(), name="watch-admission"),
            asyncio.create_task(self._policy_sync.run(), name="share-policy"),
            asyncio.create_task(
                self._canary.run(ConnectedCanaries(store, model), _POLL_INTERVAL_S), name="follow-canary"
            ),
            asyncio.create_task(self._replayer.run(), name="replay-answers"),
            asyncio.create_task(self._dashboard.run(), name="sample-dashboard"),
            self._savings.start(ConnectedSavings(store, model), settings.flush_interval_s),
            asyncio.create_task(
                self._learning.keep_fresh(self._clock, self._decider.crowds.refresh),
                name="keep-estimates-fresh",
            ),
            *await self._tenants.start(ConnectedPreferences(store, model), _POLL_INTERVAL_S),
        ]
        if self._name is not None:
            mirror = RayMirror(self.metrics.registry, self._name)
            self._tasks.append(asyncio.create_task(mirror.run(), name="mirror-metrics"))

    async def close(self) -> None:
        """End the background tasks; what was learned is written first."""
        tasks, self._tasks = self._tasks, []
        async with AsyncExitStack() as closing:  # from the last one up, each whatever becomes of the others
            closing.callback(self._resources.close)
            closing.push_async_callback(asyncio.to_thread, self._tracer.close)
            if self._decision_log is not None:
                closing.push_async_callback(asyncio.to_thread, self._decision_log.close)
            if self._sync is not None:
                closing.push_async_callback(self._sync.close)
            closing.push_async_callback(self._savings.close)
            closing.push_async_callback(self._policy_sync.close)
            await ended(tasks)

    def _is_known(self, tenant: str) -> bool:
        """Whether an operator's file names this tenant."""
        return tenant in self._policies.policy.spec.tenants or self._tenants.has_key(tenant)

    def _store_url(self, store: StoreSettings) -> str:
        if store.url != EMBEDDED_STORE:
            return store_url(store)
        server = self._resources.enter_context(EmbeddedValkey(store_dir()))
        self._tasks.append(asyncio.create_task(keep_alive(server), name="keep-store-alive"))
        return server.url


def _folder(settings: DeploymentSettings) -> Path | None:
    """Where a canary's candidate is looked for."""
    return Path(settings.policy.path).parent if settings.policy.path else None


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
        clients = {name: ServePool(handle) for name, handle in engines.items()}
        self._router = Router(settings, clients, name=serve.get_replica_context().replica_id.unique_id)
        await self._router.start()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._router.app()

    async def __del__(self) -> None:
        if (router := getattr(self, "_router", None)) is not None:
            await router.close()

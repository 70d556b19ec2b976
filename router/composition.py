"""The composition root: builds every part of a router and ties them together. Nothing is started here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from policies.learner import Drafter
from router.admin import Admin
from router.admin_canary import CanaryAdmin
from router.admin_policy import PolicyAdmin
from router.admin_policy_draft import PolicyDrafts
from router.admission import Admission
from router.admission_metrics import AdmissionCollector
from router.api import Api
from router.canary import Canary
from router.canary_metrics import CanaryCollector
from router.canary_watch import CanaryWatch
from router.capture import Capture, CaptureCollector, opened_capture
from router.costs import read_calibration, read_routes
from router.dashboard import About, Dashboard, Sources
from router.deciding import Decider
from router.decision_log import DecisionLog, opened_log
from router.decision_log_metrics import DecisionLogCollector
from router.drafter_changes import DrafterChanges
from router.drifting import Drifting
from router.expectations import Expectations
from router.guards import OperatorGuard
from router.learning import Learning
from router.models import ModelList
from router.policy_changes import PolicyChanges
from router.policy_source import PolicySource
from router.policy_sync import PolicySync, PolicySyncSettings
from router.pools import PoolClient, Pools
from router.renewing import Renewals
from router.replaying import Replayer, ReplayTotals, copying_pools
from router.savings_part import Savings
from router.scaling import Scaling
from router.service import RoutingService
from router.settings import EMBEDDED_STORE, DeploymentSettings, admin_token, metrics_token
from router.shadow import Shadow
from router.stats import StatsBuffer
from router.tasks.custom import PolicyClassifier, load_classifier
from router.tasks.trained import trained_classifier
from router.telemetry import Metrics
from router.telemetry_alpha import AlphaCollector
from router.telemetry_engines import EngineMetrics
from router.telemetry_pools import PoolCollector
from router.telemetry_state import StateSources
from router.tenant_api import TenantApi
from router.tenants import Tenants
from router.tracing import Tracer, opened_tracer


@dataclass(frozen=True)
class Parts:
    """What a router consists of, as far as something has to be started, asked or ended."""

    clock: Callable[[], float]
    pools: Pools
    tenants: Tenants
    buffer: StatsBuffer
    policies: PolicySource
    policy_sync: PolicySync
    learning: Learning
    decider: Decider
    admission: Admission
    scaling: Scaling
    canary: CanaryWatch
    drafter_changes: DrafterChanges
    replayer: Replayer
    dashboard: Dashboard
    savings: Savings
    decision_log: DecisionLog | None
    capture: Capture | None
    metrics: Metrics
    tracer: Tracer
    api: Api


def compose(
    settings: DeploymentSettings,
    clients: Mapping[str, PoolClient],
    clock: Callable[[], float] = time.time,
) -> Parts:
    """The parts of one router over its pools. `clients` has an entry for every profile of the settings."""
    calibration = Path(settings.calibration) if settings.calibration else None
    pools = Pools(
        [(profile, clients[profile.name]) for profile in settings.profiles],
        calibration=read_calibration(calibration) if calibration else None,
        silence_s=settings.failover.silence_s,
    )
    expectations = Expectations(read_routes(calibration) if calibration else None)
    tenants = Tenants(settings.tenancy)
    preferences = tenants.preferences.get
    policies = PolicySource(
        Path(settings.policy.path) if settings.policy.path else None,
        clock,
        preferences=preferences,
        may_start_without_file=True,
    )

    def is_known(tenant: str) -> bool:
        """Whether an operator's file names this tenant."""
        return tenant in policies.policy.spec.tenants or tenants.has_key(tenant)

    buffer = StatsBuffer(max_tenants=settings.tenancy.max_tenants, reserved=is_known)
    policy_sync = PolicySync(
        policies,
        settings=PolicySyncSettings(file_interval_s=settings.policy.poll_interval_s),
        alone=settings.store.url == EMBEDDED_STORE,
        clock=clock,
    )
    drafters = {profile.name: Drafter(profile.method, profile.k) for profile in settings.profiles}
    learning = Learning(buffer, drafters)
    decider = Decider(pools=pools, learning=learning, expectations=expectations, clock=clock)
    admission = Admission(pools, queue_per_slot=settings.admission.queue_per_slot, routers=settings.routers)
    judged = Canary(policies, clock=clock, preferences=preferences)
    canary = CanaryWatch(judged, policies, folder=_folder(settings), clock=clock)
    admin = Admin(
        snapshot=buffer,
        learning=learning,
        pools=pools,
        policies=policies,
        predictions=expectations.predictions,
        forecaster=decider.forecaster,
        model=settings.model.name,
        clock=clock,
    )
    replays = ReplayTotals()
    metrics = Metrics(
        StateSources(
            snapshot=buffer,
            policies=policies,
            predictions=expectations.predictions,
            forecaster=decider.forecaster,
            replays=replays,
            clock=clock,
        ),
        drafting=[profile.name for profile in settings.profiles if profile.speculative],
    )
    dashboard = Dashboard(
        Sources(admin, lambda: admission, policies, buffer, clock),
        About(settings.model.name, settings.routers, policy_sync.router_id, clock()),
        pools=pools,
        predictions=expectations.predictions,
        canary=lambda: canary.state,
    )
    copying = copying_pools(settings.profiles, settings.model) if _drafters_copy(settings) else ()
    drifting = Drifting(
        buffer=buffer,
        policies=policies,
        learning=learning,
        replayed=[pool.profile for pool in copying],
        hooks=(admin.on_drift, metrics.on_drift, dashboard.on_drift),
    )
    drafter_changes = DrafterChanges(pools, drifting, clock=clock)
    admin.decisions.log = log = opened_log(settings.decision_log)
    capture = opened_capture(settings.capture)
    replayer = Replayer(copying, drifting.record_replay, totals=replays, clock=clock)
    savings = Savings(
        pools=pools,
        learning=learning,
        policies=policies,
        tenancy=tenants.tenancy,
        reserved=is_known,
        clock=clock,
    )
    for collector in (
        AlphaCollector(buffer, learning, policies, clock),
        PoolCollector(pools, learning),
        CanaryCollector(canary),
        AdmissionCollector(admission),
        *((DecisionLogCollector(log),) if log else ()),
        *((CaptureCollector(capture),) if capture else ()),
    ):
        metrics.registry.register(collector)
    shadow = Shadow()
    changes = PolicyChanges(policy_sync, clock, tenants.with_keys)
    policy_admin = PolicyAdmin(policies, policy_sync, changes)
    tracer = opened_tracer(settings.model.name)
    service = RoutingService(
        policies=judged,
        pools=pools,
        classifier=PolicyClassifier(
            trained_classifier(),
            custom_tasks=lambda: policies.custom_tasks,
            own=load_classifier(settings.classifier) if settings.classifier else None,
        ),
        learning=learning,
        decider=decider,
        replayer=replayer,
        admission=admission,
        hooks=(
            expectations.on_outcome,
            admin.decisions.on_outcome,
            metrics.on_outcome,
            drifting.on_outcome,
            canary.on_outcome,
            shadow.on_outcome,
            dashboard.on_outcome,
            savings.on_outcome,
            *((log.on_outcome,) if log else ()),
        ),
        clock=clock,
        tracer=tracer,
    )
    api = Api(
        settings=settings,
        service=service if capture is None else capture.around(service),
        pools=pools,
        models=ModelList(pools),
        admin=admin,
        metrics=metrics,
        engines=EngineMetrics(pools),
        tenants=TenantApi(
            tenancy=tenants.tenancy,
            preferences=tenants.preferences,
            policies=policies,
            alpha=admin.alpha,
        ),
        policy=policy_admin,
        canary=CanaryAdmin(canary, shadow, policy_admin),
        guard=OperatorGuard(
            admin_token=admin_token(),
            metrics_token=metrics_token(),
            open_admin=settings.http.open_admin,
        ),
        parts=(
            dashboard,
            savings,
            PolicyDrafts(policies, changes),
            Renewals(pools, drain_s=settings.drain_s, evidence_of=drafter_changes.evidence_of),
        ),
    )
    return Parts(
        clock=clock,
        pools=pools,
        tenants=tenants,
        buffer=buffer,
        policies=policies,
        policy_sync=policy_sync,
        learning=learning,
        decider=decider,
        admission=admission,
        scaling=Scaling(pools, decider.demands, admission, router=policy_sync.router_id, clock=clock),
        canary=canary,
        drafter_changes=drafter_changes,
        replayer=replayer,
        dashboard=dashboard,
        savings=savings,
        decision_log=log,
        capture=capture,
        metrics=metrics,
        tracer=tracer,
        api=api,
    )


def _folder(settings: DeploymentSettings) -> Path | None:
    """Where a canary's candidate is looked for."""
    return Path(settings.policy.path).parent if settings.policy.path else None


def _drafters_copy(settings: DeploymentSettings) -> bool:
    """Whether n-gram profiles copy what they draft; fake engines mostly accept by luck, whatever the text."""
    return settings.fake_engines is None or settings.fake_engines.copying

"""What the metrics cost a request on its way through the router, and what a scrape costs the router.

The path is that of `bench.request_path`: body, classification, decision, admission, dispatch to a pool that
answers at once, record. `metrics` adds the hooks that a router with metrics has, for a tenant that the policy
names, with tracing off as it is by default. See `bench.interleaved` for how they are compared.

`hook` is the hooks alone, `scrape` one exposition, and `mirror` one round of what goes to Ray's metrics, into
instruments that do nothing: the least of many tries, in µs, after the requests of the comparison.

    python -m bench.metrics_path [--rounds 40] [--requests 50] [--json]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

from bench.interleaved import Variant, compared, run
from bench.request_path import BODY, PATH, routing_service
from policies.cost import PredictionError
from policies.forecast import Forecaster
from router.outcomes import Outcome
from router.policy_source import PolicySource
from router.replaying import ReplayTotals
from router.requests import read_request
from router.stats import StatsBuffer
from router.telemetry import Metrics
from router.telemetry_ray import RayMirror
from router.telemetry_state import StateSources
from router.tracing import NoTracer

_TENANT = "acme"
_TRIES = 200


def main() -> int:
    """Measure and print."""
    return run(__doc__.splitlines()[0], _measured)


async def _measured(rounds: int, requests: int) -> dict[str, dict[str, Any]]:
    metrics = _metrics()
    outcomes: list[Outcome] = []
    variants = {
        "off": await _variant(None),
        "off again": await _variant(None),
        "metrics": await _variant(metrics, outcomes),
    }
    rows = await compared(variants, rounds, requests)
    mirror = RayMirror(metrics.registry, "bench", _nothing())

    def mirrored() -> None:
        for family in metrics.registry.collect():
            mirror.mirror(family)

    def hook() -> None:
        metrics.on_outcome(outcomes[-1])
        metrics.on_response(200)

    mirrored()
    for name, call in (
        ("hook", hook),
        ("scrape", metrics.exposition),
        ("mirror", mirrored),
    ):
        rows[name] = {"us": _least_us(call)}
    return rows


def _metrics() -> Metrics:
    clock = time.time
    state = StateSources(
        snapshot=StatsBuffer(),
        policies=_Named(None, clock),
        predictions=PredictionError(),
        forecaster=Forecaster(),
        replays=ReplayTotals(),
        clock=clock,
    )
    return Metrics(state, drafting=["ngram"])


class _Named(PolicySource):
    """A policy that names the tenant of the bench."""

    @property
    def policy(self) -> Any:
        """All that the metrics ask of it."""
        return SimpleNamespace(spec=SimpleNamespace(tenants={_TENANT: None}))


async def _variant(metrics: Metrics | None, outcomes: list[Outcome] | None = None) -> Variant:
    def keep(outcome: Outcome) -> None:
        if outcomes is not None:
            outcomes[:] = [outcome]

    hooks = (keep,) if metrics is None else (keep, metrics.on_outcome)
    service = await routing_service(NoTracer(), *hooks)

    async def ask() -> None:
        response = await service.respond(read_request(PATH, {}, BODY, tenant=_TENANT))
        if metrics is not None:
            metrics.on_response(response.status)
        async with aclosing(response.body) as body:
            async for _ in body:
                pass

    return Variant(ask, lambda: None)


def _nothing() -> Any:
    """Ray's instruments, without Ray."""

    def made(*_: Any, **__: Any) -> Any:
        def ignore(*_: Any, **__: Any) -> None:
            pass

        return SimpleNamespace(inc=ignore, set=ignore, observe=ignore)

    return SimpleNamespace(Counter=made, Gauge=made, Histogram=made)


def _least_us(call: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(_TRIES):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best * 1e6


if __name__ == "__main__":
    sys.exit(main())

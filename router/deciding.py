"""Gathers what a decision depends on, and remembers what hysteresis needs of the last one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from random import Random

from policies.decide import Context, Decision, NoPoolError, Route, decide
from policies.resolve import EffectivePolicy
from router.errors import UnavailableError
from router.learning import Learning
from router.pools import Pools
from router.requests import RoutedRequest

_MAX_REMEMBERED = 20_000
_RETRY_AFTER_S = 5


class Decider:
    """Turns a request into a decision: reads the snapshot, asks the pure function, waits for nothing."""

    def __init__(
        self, *, pools: Pools, learning: Learning, clock: Callable[[], float], rng: Random | None = None
    ) -> None:
        self._pools = pools
        self._learning = learning
        self._clock = clock
        self._rng = rng or Random()
        self._settled: OrderedDict[tuple[str, str], Route] = OrderedDict()

    def decide(self, request: RoutedRequest, task: str, policy: EffectivePolicy) -> Decision:
        """The arm for a request of `task`. Raises UnavailableError when no pool can answer."""
        pools = self._pools.snapshot()
        now_s = self._clock()
        memory = (request.tenant, task)
        context = Context(
            policy=policy,
            pools=pools,
            estimates={
                pool.profile: self._learning.estimate(
                    profile=pool.profile,
                    task=task,
                    temperature=request.temperature,
                    tenant=request.tenant,
                    policy=policy,
                    now_s=now_s,
                )
                for pool in pools
                if pool.max_k > 0
            },
            draws=(self._rng.random(), self._rng.random(), self._rng.random()),
            last=self._settled.get(memory),
            wanted_route=request.hints.route,
            wanted_k=request.hints.k,
            unsupported=request.unsupported,
        )
        try:
            decision = decide(context)
        except NoPoolError:
            raise UnavailableError("no engine is ready; see /readyz", retry_after_s=_RETRY_AFTER_S) from None
        if decision.settled is not None:
            self._remember(memory, decision.settled)
        return decision

    def _remember(self, memory: tuple[str, str], settled: Route) -> None:
        self._settled[memory] = settled
        self._settled.move_to_end(memory)
        if len(self._settled) > _MAX_REMEMBERED:
            self._settled.popitem(last=False)

"""Gathers what a decision depends on, and remembers what damping needs of the last one."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from policies.cost import StepLoad
from policies.crowds import Crowds
from policies.decide import Context, Decision, NoPoolError, Pool, Work, decide
from policies.forecast import Forecaster
from policies.resolve import EffectivePolicy
from policies.scaling import PoolDemands
from router.errors import UnavailableError
from router.expectations import Expectations
from router.learning import Learning
from router.pools import Pools
from router.requests import RoutedRequest

_RETRY_AFTER_S = 5


class Choice(NamedTuple):
    """A decision, and the work it was made for.

    `home` is the replica that holds the conversation's prefix, where the decision's pool is that replica's.
    """

    decision: Decision
    work: Work
    home: str = ""


class Decider:
    """Turns a request into a decision: reads the snapshot, asks the pure function, waits for nothing."""

    def __init__(
        self,
        *,
        pools: Pools,
        learning: Learning,
        expectations: Expectations,
        clock: Callable[[], float],
        rng: Random | None = None,
    ) -> None:
        self._pools = pools
        self._learning = learning
        self._expectations = expectations
        self._clock = clock
        self._rng = rng or Random()
        self.forecaster = Forecaster()
        self.demands = PoolDemands()
        self.crowds = Crowds()

    def decide(
        self,
        request: RoutedRequest,
        task: str,
        policy: EffectivePolicy,
        *,
        canary: bool = False,
        avoid: frozenset[str] = frozenset(),
        sent: bool = True,
    ) -> Choice:
        """The arm for a request of `task`. Raises UnavailableError when no pool can answer.

        Pools to `avoid` are taken only where there are no others. What a `canary` settles on is remembered
        apart. Only what is `sent` there now counts as a pool's load.
        """
        now_s = self._clock()
        memory = self._expectations.memory
        home = memory.home(request.conversation.before, policy.affinity_s, now_s)
        work = self._expectations.work(request, task, home, now_s)
        pools = tuple(self._crowded(pool, work, now_s) for pool in self._pools.snapshot(avoid))
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
            work=work,
            last=memory.last(request.tenant, task, now_s, canary=canary),
            recent_requests=memory.arrived(task, now_s),
            wanted_route=request.hints.route,
            wanted_k=request.hints.k,
            wanted_profile=request.hints.profile,
            unsupported=request.unsupported,
        )
        try:
            decision = decide(context)
        except NoPoolError:
            raise UnavailableError("no engine is ready; see /readyz", retry_after_s=_RETRY_AFTER_S) from None
        if decision.settled is not None:
            memory.settle(request.tenant, task, decision.settled, now_s, canary=canary)
        if sent:
            self._note(decision, context, (request.tenant, task), now_s)
        return Choice(decision, work, home.replica if home and home.profile == decision.profile else "")

    def _note(self, decision: Decision, context: Context, cell: tuple[str, str], now_s: float) -> None:
        score = decision.score
        if score is None:
            return
        self.forecaster.decided(decision.route, score.ttft_s + score.decode_s, now_s)
        self.demands.decided(decision, now_s)
        estimate = context.estimates.get(score.profile)
        self.crowds.sent(score, estimate, context.work, now_s, cell=cell)

    def _crowded(self, pool: Pool, work: Work, now_s: float) -> Pool:
        """The pool with what its crowd makes of it; of a full one how long requests stay, for the wait."""
        pool = pool._replace(**self.crowds.met(pool, now_s)._asdict())
        if not pool.full:
            return pool
        crowd = StepLoad(requests=pool.capacity / pool.replicas)
        expected_s = work.output_tokens * pool.step_time.seconds(crowd)
        return pool._replace(residence_s=self._expectations.residence_s(pool.profile, expected_s, now_s))

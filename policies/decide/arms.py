"""The arms a request could take, and what each is expected to bring."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from policies.acceptance import Estimate
from policies.decide.context import Context, Decision, NoPoolError, Pool, Reason, Route
from policies.resolve import EffectivePolicy
from policies.speedup import speedup, speedups


class Arm(NamedTuple):
    """A speculative arm: k >= 1 on a pool with a drafter."""

    pool: Pool
    k: int
    expected_speedup: float


def best_k(estimate: Estimate, pool: Pool, policy: EffectivePolicy) -> tuple[int, float]:
    """The k with the greatest expected speedup within the policy's bounds and the pool's, and that speedup.

    Ties go to the smaller k, which leaves the batch more room.
    """
    highest = largest_k(pool, policy)
    lowest = min(policy.k.min, highest)
    if policy.k.mode == "fixed":
        lowest = highest = reference_k(pool, policy)
    gains = speedups(estimate.acceptance, estimate.coverage, highest, pool.step_cost)
    k = max(range(lowest, highest + 1), key=gains.__getitem__)
    return k, gains[k]


def largest_k(pool: Pool, policy: EffectivePolicy) -> int:
    """The most draft tokens per step that both the pool and the policy allow."""
    return min(policy.k.max, pool.max_k)


def reference_k(pool: Pool, policy: EffectivePolicy) -> int:
    """The policy's `k.default`, as far as the pool goes."""
    return min(policy.k.default, pool.max_k)


def best_arm(context: Context) -> Arm | None:
    """The speculative arm with the greatest expected speedup, among pools that can answer if any can."""

    def of(pool: Pool) -> Arm:
        return Arm(pool, *best_k(context.estimates[pool.profile], pool, context.policy))

    return _best(context, of, key=lambda arm: arm.expected_speedup)


def nearest_arm(context: Context, k: int) -> Arm | None:
    """The arm nearest to `k` that passes neither the policy's largest nor its pool's; of several the best."""

    def of(pool: Pool) -> Arm:
        return arm(context, pool, min(k, largest_k(pool, context.policy)))

    return _best(context, of, key=lambda arm: (arm.k, arm.expected_speedup))


def arm(context: Context, pool: Pool, k: int) -> Arm:
    """`k` on `pool`, with what it is expected to bring."""
    estimate = context.estimates[pool.profile]
    return Arm(pool, k, speedup(estimate.acceptance, estimate.coverage, k, pool.step_cost))


def vanilla_pool(context: Context) -> Pool:
    """Where to decode plainly: where there is room, rather without a drafter, which costs even when unused.

    What an engine with a drafter refuses needs a pool without one, if there is any in the deployment.

    Raises:
        NoPoolError: No such pool is available.
    """
    pools = context.pools
    if context.unsupported:
        pools = tuple(pool for pool in pools if pool.max_k == 0) or pools
    pools = tuple(pool for pool in pools if pool.available)
    if not pools:
        raise NoPoolError("no pool that could answer this request is available")
    return min(pools, key=lambda pool: (pool.full, pool.max_k > 0, pool.load))


def speculative(context: Context, arm: Arm, reason: Reason, settled: Route | None = None) -> Decision:
    """The decision to take a speculative arm."""
    return Decision(
        arm.pool.profile,
        arm.k,
        reason,
        settled=settled,
        alpha=context.estimates[arm.pool.profile].alpha,
        expected_speedup=arm.expected_speedup,
    )


def vanilla(context: Context, reason: Reason, instead_of: Decision | None = None) -> Decision:
    """The decision to decode plainly, which may keep the account of another that it replaces.

    Raises:
        NoPoolError: See `vanilla_pool`.
    """
    profile = vanilla_pool(context).profile
    if instead_of is None:
        return Decision(profile, 0, reason)
    return Decision(
        profile,
        0,
        reason,
        settled=instead_of.settled,
        alpha=instead_of.alpha,
        expected_speedup=instead_of.expected_speedup,
    )


def _best(context: Context, of: Callable[[Pool], Arm], key: Callable[[Arm], object]) -> Arm | None:
    drafting = [pool for pool in context.pools if pool.max_k > 0 and pool.profile in context.estimates]
    drafting = [pool for pool in drafting if pool.available] or drafting
    return max(map(of, drafting), key=key, default=None)  # type: ignore[arg-type]

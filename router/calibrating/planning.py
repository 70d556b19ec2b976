"""From options and a running service to the requests to send: what is measured, and how long it takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from policies.calibrating import Block, PoolFacts, Side, Wanted, blocks, sides
from policies.calibrating.plan import duration_s
from policies.cost import Calibrated
from policies.loading import PolicyError, parse_policy
from policies.schema import RoutingPolicy
from router.calibrating.journal import Begun
from router.calibrating.options import Options
from router.calibrating.prompts import Prompt, check_tasks, drawn
from router.calibrating.service import Facts, OverridesError, ServiceError


class Asked(NamedTuple):
    """What is to be measured, before anybody knows how long it takes; `fingerprint` is equal where it is."""

    wanted: Wanted
    prompts: Sequence[Prompt]
    fingerprint: str


class Plan(NamedTuple):
    """The requests of a calibration, in order. `notes` are lines for whoever started it."""

    wanted: Wanted
    sides: Sequence[Side]
    blocks: Sequence[Block]
    prompts: Mapping[str, Prompt]
    duration_s: float
    begun: Begun
    notes: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        """How many there are."""
        return sum(len(block.prompts) for block in self.blocks)

    def words(self) -> str:
        """What will be done, on a line."""
        domains = len({prompt.domain for prompt in self.prompts.values()})
        return (
            f"{_counted(len(self.prompts), 'prompt')} of {_counted(domains, 'domain')} on "
            f"{_counted(len(self.sides), 'side')}: {_counted(self.requests, 'request')}, about "
            f"{_counted(max(1, round(self.duration_s / 60)), 'minute')}"
        )


def asked(options: Options, found: Facts, prompts: Sequence[Prompt]) -> Asked:
    """What options and prompts ask of this service.

    Raises:
        ServiceError: Nothing can be compared on this service.
        PromptsError: The prompts cannot be used with it.
    """
    policy = _policy(found)
    check_tasks(options.prompts, prompts, policy.spec.known_tasks)
    wanted = options.wanted(reference_k=policy.spec.k.default, most_k=policy.spec.k.max)
    return Asked(wanted, prompts, _fingerprint(options, found, wanted, prompts))


def planned(
    options: Options, what: Asked, found: Facts, costs: Mapping[str, Calibrated], begun: Begun | None
) -> Plan:
    """The plan; that of a calibration which has `begun` stays as it was, whatever the service tells now.

    Raises:
        ServiceError: None of its pools drafts.
    """
    pools = found.pools if begun is None else begun.pools
    chosen = sides(pools, what.wanted)
    if not any(side.k for side in chosen):
        raise ServiceError(f"{options.url}: none of its pools drafts: there is nothing to compare")
    replicas = {pool.profile: pool.replicas for pool in pools}

    def plan(per_domain: int) -> Plan:
        taken = drawn(what.prompts, per_domain=per_domain, seed=options.seed)
        by_domain: dict[str, list[str]] = {}
        for prompt in taken:
            by_domain.setdefault(prompt.domain, []).append(prompt.id)
        made = blocks(by_domain, chosen, replicas, seed=options.seed)
        tokens = {prompt.id: prompt.tokens for prompt in taken}
        return Plan(
            what.wanted,
            chosen,
            made,
            {prompt.id: prompt for prompt in taken},
            duration_s(made, costs, prompt_tokens=tokens, tokens=options.max_tokens),
            Begun(per_domain, pools),
        )

    if begun is not None:
        return plan(begun.per_domain)._replace(notes=tuple(_changed(begun.pools, found.pools)))
    made = _within(options.budget_s, plan, min(options.per_domain, _largest_domain(what.prompts)))
    away = (f"{pool.profile}: not available now: it has no part in this" for pool in found.away)
    return made._replace(notes=(*made.notes, *away))


def _within(budget_s: float | None, plan: Callable[[int], Plan], per_domain: int) -> Plan:
    """The plan with the most prompts; with one of each domain, a line where even that is too long."""
    made = plan(per_domain)
    if budget_s is None:
        return made
    while made.duration_s > budget_s and per_domain > 1:
        per_domain -= 1
        made = plan(per_domain)
    if made.duration_s <= budget_s:
        return made
    note = (
        f"--budget: one prompt of each domain takes about {made.duration_s / 60:.3g} minutes, not "
        f"{budget_s / 60:.3g}: fewer values of --k, --batch, --temperature or --top-p, a smaller "
        "--max-tokens or fewer domains would take less; or give it more minutes"
    )
    return made._replace(notes=(note,))


def _largest_domain(prompts: Sequence[Prompt]) -> int:
    return max(Counter(prompt.domain for prompt in prompts).values())


def _changed(then: Sequence[PoolFacts], now: Sequence[PoolFacts]) -> Iterator[str]:
    """What is other than when the calibration began, and what becomes of it."""
    before = {pool.profile: pool for pool in then}
    for pool in now:
        was = before.get(pool.profile)
        if was is None:
            yield f"{pool.profile}: not available when this began: it has no part in it; --fresh adds it"
        elif (was.replicas, was.slots) != (pool.replicas, pool.slots):
            yield (
                f"{pool.profile}: {_size(pool)} now, {_size(was)} when this began: as many requests at once "
                "as then are asked"
            )
    for profile in before.keys() - {pool.profile for pool in now}:
        yield f"{profile}: not available now: what is left to ask of it waits for the next time"


def _policy(found: Facts) -> RoutingPolicy:
    """The policy in force, which must let us choose.

    Raises:
        OverridesError: It does not.
        ServiceError: It is none.
    """
    try:
        policy = parse_policy(found.policy, found.policy_name)
    except PolicyError as error:
        raise ServiceError(str(error).splitlines()[0]) from None
    if not policy.spec.allow_overrides:
        raise OverridesError(
            f"policy {found.policy_name} allows no overrides, so that no side can be asked for: set "
            "spec.allow_overrides: true, calibrate, and take it back"
        )
    return policy


def _fingerprint(options: Options, found: Facts, wanted: Wanted, prompts: Sequence[Prompt]) -> str:
    """Equal where the same is asked for. How many replicas answer, and how fast, is no part of it."""
    parts = [
        found.model,
        sorted((pool.profile, pool.method, pool.max_k) for pool in (*found.pools, *found.away)),
        wanted,
        [options.per_domain, options.budget_s, options.max_tokens, options.seed],
        [[prompt.id, prompt.domain, prompt.messages, prompt.task, prompt.max_tokens] for prompt in prompts],
    ]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _size(pool: PoolFacts) -> str:
    return f"{_counted(pool.replicas, 'replica')} with {_counted(pool.slots, 'slot')}"


def _counted(number: int, what: str) -> str:
    """`1 prompt`, `2 prompts`."""
    return f"{number} {what}{'' if number == 1 else 's'}"

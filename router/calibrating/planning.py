"""From options and a running service to the requests to send: what is measured, and how long it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import NamedTuple

from policies.calibrating import Block, Side, Wanted, blocks, sides
from policies.calibrating.plan import duration_s
from policies.cost import Calibrated
from policies.loading import PolicyError, parse_policy
from policies.schema import RoutingPolicy
from router.calibrating.options import Options
from router.calibrating.prompts import Prompt, drawn, read_prompts
from router.calibrating.service import Facts, OverridesError, ServiceError


class Plan(NamedTuple):
    """The requests of a calibration, in order."""

    wanted: Wanted
    sides: Sequence[Side]
    blocks: Sequence[Block]
    prompts: Mapping[str, Prompt]
    duration_s: float
    fingerprint: str

    @property
    def requests(self) -> int:
        """How many there are."""
        return sum(len(block.prompts) for block in self.blocks)

    def words(self) -> str:
        """What will be done, on a line."""
        domains = len({prompt.domain for prompt in self.prompts.values()})
        minutes = self.duration_s / 60
        return (
            f"{_counted(len(self.prompts), 'prompt')} of {_counted(domains, 'domain')} on "
            f"{_counted(len(self.sides), 'side')}: {_counted(self.requests, 'request')}, about "
            f"{_counted(max(1, round(minutes)), 'minute')}"
        )


def planned(options: Options, found: Facts, costs: Mapping[str, Calibrated]) -> Plan:
    """The plan.

    Raises:
        ServiceError: Nothing can be compared on this service.
        PromptsError: The prompts cannot be used.
    """
    policy = _policy(found)
    prompts = read_prompts(options.prompts, tasks=policy.spec.known_tasks)
    wanted = options.wanted(reference_k=policy.spec.k.default, most_k=policy.spec.k.max)
    chosen = sides(found.pools, wanted)
    if not any(side.k for side in chosen):
        raise ServiceError(f"{options.url}: none of its pools drafts: there is nothing to compare")
    replicas = {pool.profile: pool.replicas for pool in found.pools}

    def plan(per_domain: int) -> Plan:
        taken = drawn(prompts, per_domain=per_domain, seed=options.seed)
        by_domain: dict[str, list[str]] = {}
        for prompt in taken:
            by_domain.setdefault(prompt.domain, []).append(prompt.id)
        made = blocks(by_domain, chosen, replicas, seed=options.seed)
        return Plan(
            wanted,
            chosen,
            made,
            {prompt.id: prompt for prompt in taken},
            duration_s(
                made,
                costs,
                prompt_tokens={prompt.id: prompt.tokens for prompt in taken},
                tokens=options.max_tokens,
            ),
            _fingerprint(found, made, taken, options),
        )

    per_domain = options.per_domain
    while options.budget_s is not None and per_domain > 1 and plan(per_domain).duration_s > options.budget_s:
        per_domain -= 1
    return plan(per_domain)


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


def _fingerprint(found: Facts, made: Sequence[Block], taken: Sequence[Prompt], options: Options) -> str:
    """Equal where all that is asked is equal."""
    parts = [found.model, found.pools, made, [asdict(prompt) for prompt in taken], options.max_tokens]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _counted(number: int, what: str) -> str:
    """`1 prompt`, `2 prompts`."""
    return f"{number} {what}{'' if number == 1 else 's'}"

"""Logged decisions, made anew under a candidate policy by the code that decides requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from policies.decide import Context, Decision, NoPoolError, Reason, Score, decide
from policies.decide.scores import score_arm
from policies.memory import Memory
from policies.off_policy.contexts import context_of, last_of
from policies.off_policy.record import DecisionRecord
from policies.resolve import PolicyTable

Arm = tuple[str, int]
"""Profile and k."""


class Redecided(NamedTuple):
    """A record beside what the candidate would have done: for both the probability of every arm.

    The record is without its arms, pools and estimates, which are most of it. `scores` has the prediction for
    each arm of either. `same_evidence` is false where the candidate's settings would have made other evidence
    of the same counts; the logged evidence was taken as it is. `kept` says that the candidate only kept its
    last choice.
    """

    record: DecisionRecord
    logged: Mapping[Arm, float]
    candidate: Mapping[Arm, float]
    scores: Mapping[Arm, Score]
    same_evidence: bool
    kept: bool


def redecided(records: Iterable[DecisionRecord], candidate: PolicyTable) -> Iterator[Redecided]:
    """Every record with the candidate's decision; those no pool could have answered are passed over.

    Records must come in the order of their decisions. Hysteresis follows the candidate's own choices, per
    router, tenant and task: what evidence favours does not depend on chance, so neither does this memory. It
    starts with what the log favoured.
    """
    memories: dict[str, Memory] = {}
    for record in records:
        memory = memories.setdefault(record.router, Memory())
        at_s = record.decided_at
        last = memory.last(record.tenant, record.task, at_s)
        if last is None and (last := last_of(record.context)) is not None:
            memory.settle(record.tenant, record.task, last.route, at_s)
        policy = candidate.resolve(tenant=record.tenant, task=record.task, now_s=at_s)
        context = context_of(record.context, policy, last)
        try:
            decision = decide(context)
        except NoPoolError:
            continue
        if decision.settled is not None:
            memory.settle(record.tenant, record.task, decision.settled, at_s)
        logged = {(profile, k): chance for profile, k, chance in record.chances}
        chances = chances_of(decision)
        scores = _scores(context, decision, logged.keys() | chances.keys())
        kept = decision.reason is Reason.HYSTERESIS
        yield Redecided(_light(record), logged, chances, scores, _same_evidence(record, context), kept)


def chances_of(decision: Decision) -> dict[Arm, float]:
    """The probability of every arm that could have been taken in the decision's place."""
    if not decision.chances:
        return {(decision.profile, decision.k): 1.0}
    return {(profile, k): chance for profile, k, chance in decision.chances}


def _scores(context: Context, decision: Decision, arms: Iterable[Arm]) -> dict[Arm, Score]:
    """Predictions for arms, also for those that the candidate would not compare."""
    compared = {(score.profile, score.k): score for score in decision.scores}
    pools = {pool.profile: pool for pool in context.pools}
    found = {}
    for profile, k in arms:
        if (profile, k) in compared:
            found[profile, k] = compared[profile, k]
        elif profile in context.estimates and 0 < k < len(context.estimates[profile].lengths):
            found[profile, k] = score_arm(context, pools[profile], k)
    return found


def _light(record: DecisionRecord) -> DecisionRecord:
    context = record.context.model_copy(update={"pools": (), "estimates": {}})
    return record.model_copy(update={"arms": (), "chances": (), "context": context})


def _same_evidence(record: DecisionRecord, context: Context) -> bool:
    logged, acceptance = record.context, context.policy.acceptance
    return (logged.half_life_s, logged.prior_strength, logged.prior_alpha) == (
        acceptance.half_life,
        acceptance.prior_strength,
        context.policy.prior_alpha,
    )

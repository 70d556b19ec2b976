"""Logs whose truth is known: situations decided by the real code, times that the predictions get wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from deciding import CHEAP, accepting

from policies.cost import StepTime
from policies.decide import Context, Decision, Last, Pool, Work, decide
from policies.off_policy import DecisionRecord, logged_context
from policies.off_policy.redecide import Redecided, chances_of, redecided
from policies.off_policy.trials import Floats, Measure, Trials, Whole, trials
from policies.resolve import PolicyTable
from policies.schema import RoutingPolicy

ALPHAS = {"code": 0.75, "qa": 0.45, "creative": 0.2, "chat": 0.35}
START_S = 1_700_000_000.0
PROFILES = ("vanilla", "ngram")


def table(**spec: Any) -> PolicyTable:
    """A policy of that spec."""
    document = {
        "apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": "test"}, "spec": spec,
    }  # fmt: skip
    return PolicyTable(RoutingPolicy.model_validate(document))


def situations(number: int, logging: PolicyTable, seed: int = 0) -> list[tuple[str, Context]]:
    """Tasks and contexts of all sorts under the policy `logging`, in the order of time."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        task = str(rng.choice(list(ALPHAS)))
        alpha = float(np.clip(ALPHAS[task] + 0.1 * rng.standard_normal(), 0.02, 0.95))
        load = int(rng.integers(0, 7))
        step_time = StepTime(base=0.03, wide=0.006, per_drafted=0.0015, per_request=0.001, per_prefill=0.0002)
        context = Context(
            policy=logging.resolve(tenant="acme", task=task, now_s=START_S),
            pools=(
                Pool("vanilla", 0, CHEAP, capacity=8, in_flight=load),
                Pool("ngram", 5, step_time, capacity=8, in_flight=7 - load, cost_error=0.1),
            ),
            estimates={"ngram": accepting(alpha, spread=0.05)},
            draws=(float(rng.random()), float(rng.random()), float(rng.random())),
            work=Work(float(rng.integers(20, 800)), float(rng.integers(20, 400))),
            last=Last("vanilla") if rng.random() < 0.5 else None,
            recent_requests=200.0,
        )
        found.append((task, context))
    return found


LOGGING: dict[str, Any] = {
    "mode": "adaptive", "exploration": {"share": 0.1, "max_share": 0.3}, "holdout": {"share": 0.05},
}  # fmt: skip
"""What decides the logged requests."""


def line(number: int, task: str, decision: Decision, **changes: Any) -> dict[str, Any]:
    """A line of the log, as JSON has it."""
    assert decision.context is not None
    values = {
        "v": 1, "request_id": f"r{number}", "router": "a-0", "sample": 1.0, "at": START_S + number + 1.0,
        "decided_at": START_S + number, "tenant": "acme", "task": task, "task_confidence": 1.0,
        "temperature": "low", "stream": True, "turn": [None, None], "route": decision.route,
        "profile": decision.profile, "replica": None, "k": decision.k, "reason": decision.reason.value,
        "propensity": decision.propensity,
        "chances": [[profile, k, chance] for (profile, k), chance in chances_of(decision).items()],
        "intended": decision.intended, "policy": "test@1", "alpha": decision.alpha,
        "expected_speedup": decision.expected_speedup, "confidence": decision.confidence,
        "expected_tokens": decision.context.work.output_tokens,
        "arms": [score._asdict() for score in decision.scores], "predicted_s": None, "result": "completed",
        "status": 200, "failovers": 0, "ttft_s": 0.2, "total_s": 1.0, "queued_s": 0.0, "engine_ttft_s": 0.2,
        "decode_s": 0.8, "prompt_tokens": 10, "completion_tokens": 101, "steps": None, "drafted": None,
        "accepted": None, "context": logged_context(decision.context),
    }  # fmt: skip
    return {**values, **changes}


def record(number: int, task: str, decision: Decision, **changes: Any) -> DecisionRecord:
    """A record, by way of its line."""
    return DecisionRecord.model_validate_json(json.dumps(line(number, task, decision, **changes)))


class Population(NamedTuple):
    """Situations with every arm the log could have shown in each: `rows` has a row for both together.

    `first[i]` is the first row of situation i, `arms[i]` how many it has, `chances[i]` their logged
    probabilities, filled up with zeros. `truth` is the seconds each row takes on average, `change` the
    candidate's true effect on the mean, `logged` the true mean.
    """

    rows: Trials
    first: Whole
    arms: Whole
    chances: Floats
    truth: Floats
    change: float
    logged: float


def population(
    logging: PolicyTable,
    candidate: PolicyTable,
    measure: Measure,
    *,
    number: int = 600,
    across_k: bool = False,
) -> Population:
    """Situations, and what the candidate would do in them."""
    met = situations(number, logging)
    decisions = [decide(context) for _, context in met]
    records = [record(i, task, d) for i, ((task, _), d) in enumerate(zip(met, decisions, strict=True))]
    rows: list[Redecided] = []
    first, chances, truth, true_candidate, true_logged = [], [], [], 0.0, 0.0
    for found in redecided(records, candidate):
        first.append(len(rows))
        chances.append(list(found.logged.values()))
        for profile, k in found.logged:
            rows.append(found._replace(record=found.record.model_copy(update={"profile": profile, "k": k})))
        loads = {pool.profile: pool.in_flight for pool in met[len(chances) - 1][1].pools}
        true_s = {arm: _truth_s(found, arm, measure, loads[arm[0]]) for arm in found.scores}
        truth += [true_s[arm] for arm in found.logged]
        true_logged += sum(chance * true_s[arm] for arm, chance in found.logged.items()) / number
        true_candidate += sum(chance * true_s[arm] for arm, chance in found.candidate.items()) / number
    made, indices = trials(rows, range(len(rows)), measure, across_k=across_k)
    assert len(indices) == len(rows)
    arms = np.array([len(one) for one in chances])
    padded = np.array([[*one, *[0.0] * (arms.max() - len(one))] for one in chances])
    change = true_candidate - true_logged
    return Population(made, np.array(first), arms, padded, np.array(truth), change, true_logged)


def _truth_s(found: Redecided, arm: tuple[str, int], measure: Measure, load: int) -> float:
    """The predictions are wrong by task, by route and by load; no factor per pool puts that right."""
    score = found.scores[arm]
    _, k = arm
    task = found.record.task
    wrong = {"code": 0.85, "qa": 1.25, "creative": 1.1, "chat": 1.0}[task] if k else 1.1
    wrong *= 1.0 + 0.03 * load + (0.1 if task == "qa" else 0.0)
    per_token_s = score.decode_s / (found.record.context.output_tokens - 1.0) * wrong
    tokens = 100
    return {
        "tpot_s": per_token_s,
        "decode_s": per_token_s * tokens,
        "total_s": 1.2 * (score.wait_s + score.ttft_s) + per_token_s * tokens,
    }[measure]


def log(population: Population, requests: int, seed: int, *, turns: int = 3) -> Trials:
    """A log of so many requests in conversations of so many turns, whose times go alike."""
    rng = np.random.default_rng(seed)
    situation = rng.integers(0, len(population.first), requests)
    draws = rng.random((requests, 1))
    # The last arm of a situation takes whatever rounding leaves over.
    taken = (population.chances[situation].cumsum(1)[:, :-1] <= draws).sum(1)
    rows = population.first[situation] + np.minimum(taken, population.arms[situation] - 1)
    cluster = np.arange(requests) // turns
    noise = 0.25 * rng.standard_normal(requests) + 0.2 * rng.standard_normal(cluster[-1] + 1)[cluster]
    measured = population.truth[rows] * np.exp(noise - (0.25**2 + 0.2**2) / 2)
    return replace(population.rows.part(rows), measured=measured, cluster=cluster)

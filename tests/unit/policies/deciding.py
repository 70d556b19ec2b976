"""Contexts for tests of decisions."""

from __future__ import annotations

from typing import Any

from policies.acceptance import Estimate
from policies.cost import StepTime
from policies.decide import Context, Decision, Pool
from policies.resolve import EffectivePolicy, resolve
from policies.schema import RoutingPolicy

PLAIN_S = 0.03
CHEAP = StepTime(base=PLAIN_S, wide=0.1 * PLAIN_S, per_drafted=0.01 * PLAIN_S)
COSTLY = StepTime(base=PLAIN_S, wide=0.1 * PLAIN_S, per_drafted=0.3 * PLAIN_S)
MODEL = StepTime(base=PLAIN_S, wide=0.1 * PLAIN_S, per_drafted=0.01 * PLAIN_S, per_asked=0.1 * PLAIN_S)
VANILLA = Pool("vanilla", 0, CHEAP, capacity=8)
NGRAM = Pool("ngram", 5, CHEAP, capacity=8)
DRAFT = Pool("draft", 8, MODEL, drafter_is_model=True, capacity=8)
NEVER = (0.999, 0.999, 0.0)


def policy(**spec: Any) -> EffectivePolicy:
    values = {"exploration": {"share": 0.0}, **spec}
    document = {
        "apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": "test"}, "spec": values,
    }  # fmt: skip
    return resolve(RoutingPolicy.model_validate(document), tenant="acme", task="code")


def accepting(alpha: float, *, steps: float = 1000.0, spread: float = 0.01, reference_k: int = 4) -> Estimate:
    """Every position alike, known to about `spread`."""
    return Estimate((alpha,), (1.0,), (spread,), reference_k, evidence_steps=steps, own_steps=steps, max_k=8)


def context(alpha: float = 0.8, *, steps: float = 1000.0, **changes: Any) -> Context:
    """A policy in threshold mode over a plain pool and one that drafts at `alpha`, unless changed."""
    values: dict[str, Any] = {
        "policy": policy(mode="threshold"),
        "pools": (VANILLA, NGRAM),
        "estimates": {"ngram": accepting(alpha, steps=steps)},
        "draws": NEVER,
    }
    return Context(**{**values, **changes})


def arm(decision: Decision) -> tuple[str, int]:
    return decision.profile, decision.k

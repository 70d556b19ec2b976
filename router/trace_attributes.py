"""What the spans of a request say of it, as attributes; docs/tracing.md describes each.

Nothing of prompts or answers is in them, nor the text of any error, which may quote them. What a client wrote
is taken only in forms that every exporter can send.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.util.types import AttributeValue

from policies.decide import Decision
from replicas.tracing_otel import usage
from router.outcomes import Outcome
from router.requests import RoutedRequest

Attributes = dict[str, AttributeValue]

_MOST_TOKENS: Final = 2**31
"""Whole numbers of JSON have no end, those of OTLP do."""
_HOTTEST: Final = 1000
_MOST_ARMS: Final = 32


def asked(request: RoutedRequest) -> Attributes:
    """What the client asked for. Of what it wrote only what has a form that can be relied on."""
    fields = request.fields
    found: Attributes = {
        "gen_ai.request.stream": request.stream,
        "specroute.request_id": request.request_id,
        "specroute.tenant": request.tenant,
    }
    for name in ("max_completion_tokens", "max_tokens"):
        if type(tokens := fields.get(name)) is int and 0 <= tokens < _MOST_TOKENS:
            found["gen_ai.request.max_tokens"] = tokens
            break
    temperature = fields.get("temperature")
    if isinstance(temperature, int | float) and abs(temperature) < _HOTTEST:
        found["gen_ai.request.temperature"] = float(temperature)
    return found


def arm(decision: Decision) -> Attributes:
    """What was chosen, and the reason."""
    return {
        "specroute.route": decision.route,
        "specroute.profile": decision.profile,
        "specroute.k": decision.k,
        "specroute.reason": decision.reason.value,
    }


def grounds(decision: Decision) -> Attributes:
    """Why it is this arm; of all arms the names and what they would have cost, the best first."""
    scores = sorted(decision.scores, key=lambda score: score.cost_s)[:_MOST_ARMS]
    found: Attributes = {
        "specroute.propensity": decision.propensity,
        "specroute.arms": tuple(f"{score.profile}/{score.k}" for score in scores),
        "specroute.arms.cost_s": tuple(score.cost_s for score in scores),
    }
    known = {
        "specroute.alpha": decision.alpha,
        "specroute.expected_speedup": decision.expected_speedup,
        "specroute.confidence": decision.confidence,
        "specroute.intended": "/".join(map(str, decision.intended)) if decision.intended else None,
    }
    return found | {name: value for name, value in known.items() if value is not None}


def ended(outcome: Outcome) -> Attributes:
    """What came of a request."""
    found: Attributes = {
        **arm(outcome.decision),
        "specroute.task": outcome.task,
        "specroute.policy": outcome.policy,
        "specroute.canary": outcome.canary,
        "specroute.result": outcome.result,
        "specroute.failovers": outcome.failovers,
    }
    if outcome.ttft_s is not None:
        found["gen_ai.response.time_to_first_chunk"] = outcome.ttft_s
    if outcome.ending is not None:
        found.update(usage(outcome.ending))
    return found

"""An outcome as operators see it in the admin API, and as the decision log keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from policies.off_policy import VERSION, DecisionRecord, logged_context, rounded
from router.details import arm_scores
from router.expectations import predicted_decode_s
from router.outcomes import Outcome


def entry(outcome: Outcome) -> dict[str, Any]:
    """Who asked, what was decided and why, what was expected, what came of it; as JSON has it."""
    decision, ending, request = outcome.decision, outcome.ending, outcome.request
    counted = ending if ending is not None and ending.counted else None
    return {
        "request_id": request.request_id,
        "trace_id": outcome.trace_id,
        "at": outcome.at_s,
        "decided_at": outcome.at_s - (outcome.total_s or 0.0),
        "tenant": request.tenant,
        "task": outcome.task,
        "task_confidence": outcome.confidence,
        "temperature": request.temperature,
        "stream": request.stream,
        "route": decision.route,
        "profile": decision.profile,
        "replica": (ending.replica or None) if ending else None,
        "k": decision.k,
        "reason": decision.reason.value,
        "propensity": decision.propensity,
        "chances": [list(one) for one in decision.chances] or [[decision.profile, decision.k, 1.0]],
        "alpha": decision.alpha,
        "expected_speedup": decision.expected_speedup,
        "confidence": decision.confidence,
        "expected_tokens": outcome.work.output_tokens if outcome.work else None,
        "arms": arm_scores(decision.scores),
        "intended": list(decision.intended) if decision.intended else None,
        "holdout_share": decision.context.policy.holdout_share
        if decision.chances and decision.context is not None
        else 0.0,
        "policy": outcome.policy,
        "canary": outcome.canary,
        "result": outcome.result,
        "status": outcome.status,
        "error": outcome.error,
        "failovers": outcome.failovers,
        "predicted_s": predicted_decode_s(decision.score, outcome.work, ending.completion_tokens)
        if ending
        else None,
        "ttft_s": outcome.ttft_s,
        "total_s": outcome.total_s,
        "queued_s": ending.queued_s if ending else None,
        "engine_ttft_s": ending.ttft_s if ending else None,
        "decode_s": ending.decode_s if ending else None,
        "prompt_tokens": ending.prompt_tokens if ending else None,
        "completion_tokens": ending.completion_tokens if ending else None,
        "steps": len(counted.per_step_accepted) if counted else None,
        "drafted": sum(counted.per_step_drafted) if counted else None,
        "accepted": sum(counted.per_step_accepted) if counted else None,
    }


def record(outcome: Outcome, *, router: str, sample: float, digest: Callable[[str], str]) -> dict[str, Any]:
    """The log's record, see `DecisionRecord`: no text, not even that of errors, which may quote requests.

    `digest` makes names of conversations that say nothing of what they were made from.

    Raises:
        ValueError: The decision does not say what it was made from.
    """
    if outcome.decision.context is None:
        raise ValueError("a decision without its context cannot be logged")
    turn = outcome.request.conversation
    shown = entry(outcome)
    kept = {name: shown[name] for name in DecisionRecord.model_fields if name in shown}
    values: dict[str, Any] = rounded(kept)
    # Moments keep all their digits.
    return {
        "v": VERSION,
        "router": router,
        "sample": sample,
        **values,
        "turn": [None if name is None else digest(name) for name in (turn.before, turn.after)],
        "context": logged_context(outcome.decision.context),
        "at": shown["at"],
        "decided_at": shown["decided_at"],
    }

"""The `specroute` object of a response, and the headers that say the same in short."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from policies.decide import Decision, Score
from replicas.frames import Ending, Frame
from router.dispatch import Dispatch
from router.expectations import predicted_decode_s


def headers(decision: Decision, *, task: str, policy: str) -> dict[str, str]:
    """Response headers of the contract, but for X-Request-Id, which Ray Serve sets itself."""
    return {
        "X-Specroute-Route": decision.route,
        "X-Specroute-K": str(decision.k),
        "X-Specroute-Task": task,
        "X-Specroute-Profile": decision.profile,
        "X-Specroute-Reason": decision.reason.value,
        "X-Specroute-Policy": policy,
    }


def details(
    decision: Decision,
    ending: Ending,
    *,
    task: str,
    confidence: float,
    tenant: str,
    policy: str,
    failovers: int,
    predicted_s: float | None = None,
) -> dict[str, Any]:
    """What happened to one request, in full. Step counts are null where they are not complete."""
    counted = ending.counted and not ending.continued_after
    steps = len(ending.per_step_accepted) if counted else None
    accepted = sum(ending.per_step_accepted) if counted else None
    drafted = sum(ending.per_step_drafted) if counted else None
    return {
        "route": decision.route,
        "profile": decision.profile,
        "replica": ending.replica or None,
        "k": decision.k,
        "task": task,
        "task_confidence": round(confidence, 4),
        "tenant": tenant,
        "reason": decision.reason.value,
        "policy": policy,
        "propensity": decision.propensity,
        "alpha": decision.alpha,
        "steps": steps,
        "drafted": drafted,
        "accepted": accepted,
        "acceptance_length": 1 + accepted / steps if steps and accepted is not None else None,
        "per_step_drafted": list(ending.per_step_drafted) if counted else None,
        "per_step_accepted": list(ending.per_step_accepted) if counted else None,
        "completion_tokens": ending.completion_tokens,
        "cached_tokens": ending.cached_tokens,
        "expected_speedup": decision.expected_speedup,
        "confidence": decision.confidence,
        "predicted_s": predicted_s,
        "measured_s": ending.decode_s,
        "ttft_s": ending.ttft_s,
        "queued_s": ending.queued_s,
        "failovers": failovers,
        "continued_after": ending.continued_after or None,
        "intended": list(decision.intended) if decision.intended else None,
    }


def arm_scores(scores: tuple[Score, ...]) -> list[dict[str, Any]]:
    """All arms a decision compared, best first: what each would have cost, and what that stands on."""
    return [score._asdict() for score in sorted(scores, key=lambda score: score.cost_s)]


def spliced(frame: Frame, value: dict[str, Any]) -> bytes:
    """The frame's bytes with a `specroute` member where the replica left room for it."""
    if frame.splice_at is None:
        return frame.data
    member = b',"specroute":' + json.dumps(value).encode()
    return frame.data[: frame.splice_at] + member + frame.data[frame.splice_at :]


def sent_bytes(dispatch: Dispatch, frame: Frame) -> bytes:
    """What the client gets of a frame: its bytes, with the `specroute` object where it asked for that."""
    if frame.splice_at is None or frame.ending is None or dispatch.status >= HTTPStatus.BAD_REQUEST:
        return frame.data
    return spliced(
        frame,
        details(
            dispatch.decision,
            frame.ending,
            task=dispatch.task,
            confidence=dispatch.confidence,
            tenant=dispatch.request.tenant,
            policy=dispatch.policy_label,
            failovers=dispatch.failovers,
            predicted_s=predicted_decode_s(
                dispatch.decision.score, dispatch.work, frame.ending.completion_tokens
            ),
        ),
    )

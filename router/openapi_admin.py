"""The OpenAPI document's part about what operators see: evidence, decisions, engines, tenants."""

from __future__ import annotations

from typing import Any, Final, get_args

from policies.drift import DriftKind
from router.decisions import CLOSED, MOST_LISTED
from router.openapi_policy import ADMIN_ERRORS, ADMIN_SECURITY
from router.openapi_words import (
    COUNT,
    MOMENT,
    NUMBER,
    SECONDS,
    SHARE,
    SWITCH,
    TEXT,
    Json,
    answer,
    listed,
    maybe,
    named,
    operation,
    query,
    ref,
    shape,
)

METRICS_SECURITY: Final[list[Json]] = [{"metricsToken": []}, {"adminToken": []}, {}]
_AMOUNT: Final[Json] = {"type": "number", "minimum": 0}

ADMIN_SCHEMAS: Final[Json] = {
    "AlphaEntry": shape(
        {
            "profile": TEXT,
            "task": TEXT,
            "tenant": {"type": ["string", "null"], "description": "null: the task's total."},
            "temperature": {"enum": ["low", "mid", "high", None], "description": "null: all."},
            "alpha": maybe(SHARE),
            "interval": maybe({**listed(SHARE), "minItems": 2, "maxItems": 2}),
            "alpha_by_position": listed(SHARE),
            "coverage": listed(SHARE),
            "draft_acceptance_rate": maybe(SHARE),
            "acceptance_length": maybe({"type": "number", "minimum": 1}),
            **dict.fromkeys(("steps", "drafted", "accepted", "requests", "replayed_requests"), _AMOUNT),
            "lifetime": shape(dict.fromkeys(("steps", "drafted", "accepted", "tokens", "requests"), COUNT)),
            "updated_at": MOMENT,
        },
        about="Evidence of one cell. Plain counters are decayed to now, lifetime ones never are.",
    ),
    "Alpha": shape(
        {
            "entries": listed(
                {
                    "allOf": [
                        ref("AlphaEntry"),
                        shape(
                            {
                                "arm": maybe(
                                    shape(
                                        {"profile": TEXT, "k": COUNT, "reason": ref("Reason"), "at": MOMENT}
                                    )
                                ),
                                "least_asked": COUNT,
                            }
                        ),
                    ]
                }
            ),
            "store_up": SWITCH,
            "store_age_s": maybe(NUMBER),
        }
    ),
    "DecisionEntry": shape(
        {
            "request_id": TEXT,
            "trace_id": maybe(TEXT),
            "at": MOMENT,
            "decided_at": MOMENT,
            "tenant": TEXT,
            "task": TEXT,
            "task_confidence": SHARE,
            "temperature": {"enum": ["low", "mid", "high"]},
            "stream": SWITCH,
            "route": ref("Route"),
            "profile": TEXT,
            "replica": maybe(TEXT),
            "k": COUNT,
            "reason": ref("Reason"),
            "propensity": SHARE,
            "chances": listed(
                {"type": "array", "prefixItems": [TEXT, COUNT, SHARE], "minItems": 3, "maxItems": 3}
            ),
            "alpha": maybe(SHARE),
            "expected_speedup": maybe(NUMBER),
            "confidence": maybe(SHARE),
            "expected_tokens": maybe(NUMBER),
            "arms": listed(shape({"profile": TEXT, "k": COUNT, "cost_s": NUMBER})),
            "intended": maybe(ref("Arm")),
            "policy": TEXT,
            "canary": SWITCH,
            "result": {"enum": list(CLOSED["result"])},
            "status": {"type": "integer", "description": "0 where none was sent."},
            "error": maybe(TEXT),
            "failovers": COUNT,
            "predicted_s": maybe(SECONDS),
            "ttft_s": maybe(SECONDS),
            "total_s": maybe(SECONDS),
            "queued_s": maybe(SECONDS),
            "engine_ttft_s": maybe(SECONDS),
            "decode_s": maybe(SECONDS),
            **dict.fromkeys(
                ("prompt_tokens", "completion_tokens", "steps", "drafted", "accepted"), maybe(COUNT)
            ),
            "explanation": TEXT,
        }
    ),
    "Decisions": shape(
        {
            "decisions": listed(ref("DecisionEntry")),
            "log": maybe(shape({"written": COUNT, "dropped": COUNT, "failed": COUNT})),
        }
    ),
    "Replicas": shape(
        {
            "forecast": named(shape({"requests_per_s": _AMOUNT, "work": _AMOUNT})),
            "pools": listed(
                shape(
                    {
                        "profile": TEXT,
                        "method": TEXT,
                        "max_k": COUNT,
                        "least_asked": COUNT,
                        "prompt_lookup": maybe(shape({"min": COUNT, "max": COUNT})),
                        "available": SWITCH,
                        "ejected": listed(TEXT),
                        "in_flight": COUNT,
                        "replicas": COUNT,
                        "demand": maybe(_AMOUNT),
                        "capacity": COUNT,
                        "last_error": maybe(TEXT),
                        "status": {"type": ["object", "null"]},
                    }
                )
            ),
        }
    ),
    "Cost": shape(
        {
            "format": TEXT,
            "model": TEXT,
            "machine": TEXT,
            "profiles": named(
                shape(
                    {
                        "step_time_ms": named(_AMOUNT),
                        "relative_error": _AMOUNT,
                        "steps": _AMOUNT,
                        "source": TEXT,
                        "believed_over_measured": _AMOUNT,
                        "refused_records": COUNT,
                        "predicted_over_measured": maybe(NUMBER),
                        "prediction_spread": maybe(NUMBER),
                    }
                )
            ),
        },
        about="A calibration file, for the deployment's `calibration` setting.",
    ),
    "Drift": shape(
        {
            "events": listed(
                shape(
                    {
                        "kind": {"enum": list(get_args(DriftKind))},
                        "profile": TEXT,
                        "task": maybe(TEXT),
                        "at": MOMENT,
                        "before": SHARE,
                        "after": SHARE,
                        "requests": COUNT,
                        "fallen": listed(TEXT),
                        "gained": listed(shape({"task": TEXT, "before": SHARE, "after": SHARE})),
                    }
                )
            )
        }
    ),
    "TenantState": shape(
        {
            "keys": maybe(
                shape(
                    {
                        "file": TEXT,
                        "keys": listed(shape({"tenant": TEXT, "label": TEXT, "sha256": TEXT})),
                        "rejected": maybe(TEXT),
                    }
                )
            ),
            "preferences": named(ref("Preferences")),
        },
        about="Whose keys are in force, without any secret, and what tenants set for themselves.",
    ),
}


def admin_paths() -> dict[str, Json]:
    """What operators look at."""
    whose = [query("task", "Only this task."), query("tenant", "Only this tenant.")]
    return {
        "/admin/v1/alpha": _shown("alpha", "Show the evidence", "Alpha", parameters=whose),
        "/admin/v1/decisions": _shown(
            "decisions",
            "Show the newest decisions, each explained",
            "Decisions",
            errors=(*ADMIN_ERRORS, 400),
            parameters=[
                query("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED}),
                query("since", "10m for ten minutes ago, an ISO time, or seconds since 1970."),
                *(
                    query(name, "Only those with this value.", {"enum": list(values)})
                    for name, values in CLOSED.items()
                ),
                *whose,
                query("profile", "Only this pool."),
                query("policy", "Only this policy, with or without its revision."),
                query("request_id", "Only this request."),
                query("trace_id", "Only the requests of this trace."),
            ],
        ),
        "/admin/v1/replicas": _shown("replicas", "Show the pools and what is expected of each", "Replicas"),
        "/admin/v1/cost": _shown("cost", "Show what a step costs on each pool", "Cost"),
        "/admin/v1/drift": _shown("drift", "Show what drifted lately", "Drift"),
        "/admin/v1/tenants": _shown("tenants", "Show tenants' keys and preferences", "TenantState"),
        "/metrics": {
            "get": operation(
                "metrics",
                "Show the metrics of one router",
                answer("Prometheus' text format.", TEXT, kind="text/plain"),
                tag="admin",
                errors=ADMIN_ERRORS,
                security=METRICS_SECURITY,
            )
        },
    }


def _shown(name: str, summary: str, schema: str, **more: Any) -> Json:
    ok = answer("As this router sees it.", ref(schema))
    more.setdefault("errors", ADMIN_ERRORS)
    return {"get": operation(name, summary, ok, tag="admin", security=ADMIN_SECURITY, **more)}

"""The OpenAPI document's part about adoption: what mode shadow tells, and how a canary fares."""

from __future__ import annotations

from typing import Any, Final, get_args

from router.canary_watch import Phase
from router.openapi_policy import ADMIN_ERRORS, ADMIN_SECURITY
from router.openapi_words import (
    COUNT,
    MOMENT,
    NUMBER,
    SHARE,
    TEXT,
    Json,
    answer,
    listed,
    maybe,
    operation,
    ref,
    shape,
)

_PAIR: Final = shape({"candidate": COUNT, "main": COUNT})
_RATIO: Final = maybe(
    shape(
        {"estimate": NUMBER, "lower": NUMBER, "upper": NUMBER},
        optional=("estimate", "lower", "upper"),
        about="Candidate over main, with bounds; those that say nothing are left out.",
    )
)
_COMPARED: Final[Json] = {"requests": _PAIR, "total_time": _RATIO, "decode_time": _RATIO}
_FOUND: Final[Json] = {
    "verdict": {"type": "string"},
    "because": listed(TEXT),
    **_COMPARED,
    "failed": _PAIR,
    "cancelled": _PAIR,
    "tasks": listed(shape({"task": TEXT, **_COMPARED})),
}
_TRIED: Final[Json] = {
    "candidate": shape({"name": TEXT, "revision": TEXT, "source": TEXT}),
    "main": TEXT,
    "share": SHARE,
    "by": {"enum": ["request", "tenant"]},
    "stop": shape({"confidence": SHARE, "min_requests": COUNT}),
    "since": MOMENT,
}
_FIGURES: Final[Json] = {
    "requests": COUNT,
    "speculative_share": maybe(SHARE),
    "measured_share": maybe(SHARE),
    "predicted_speedup": maybe(NUMBER),
    "predicted_saving": maybe(NUMBER),
}

ADOPTION_SCHEMAS: Final[Json] = {
    "Shadow": shape(
        {
            "policy": maybe(TEXT),
            "since": maybe(MOMENT),
            **_FIGURES,
            "tasks": listed(shape({"task": TEXT, **_FIGURES})),
        }
    ),
    "Canary": shape(
        {
            "phase": {"enum": list(get_args(Phase))},
            "why": maybe(TEXT),
            "stopped": maybe({"type": "object", "description": "The record of its stop."}),
            **_TRIED,
            **_FOUND,
        },
        optional=(*_TRIED, *_FOUND),
    ),
}


def adoption_paths() -> dict[str, Json]:
    """What operators see of a policy that is being tried."""
    common: dict[str, Any] = {"tag": "policy", "security": ADMIN_SECURITY}
    return {
        "/admin/v1/shadow": {
            "get": operation(
                "shadow",
                "Show what mode shadow would have saved",
                answer("As predicted, since the policy last changed.", ref("Shadow")),
                errors=ADMIN_ERRORS,
                **common,
            )
        },
        "/admin/v1/canary": {
            "get": operation(
                "canary",
                "Show how the canary fares",
                answer("Who is tried beside whom, and the verdict.", ref("Canary")),
                errors=ADMIN_ERRORS,
                **common,
            )
        },
    }

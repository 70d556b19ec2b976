"""The OpenAPI document's part about the dashboard and the savings report."""

from __future__ import annotations

from typing import Any, Final, get_args

from policies.savings import Verdict
from router.openapi_policy import ADMIN_ERRORS, ADMIN_SECURITY
from router.openapi_words import (
    COUNT,
    EVENTS_TYPE,
    JSON_TYPE,
    MOMENT,
    NUMBER,
    SECONDS,
    SHARE,
    SWITCH,
    TEXT,
    Json,
    answer,
    event,
    listed,
    maybe,
    named,
    operation,
    query,
    ref,
    shape,
)

_INTERVAL: Final = maybe({"type": "array", "minItems": 2, "maxItems": 2})
_SAVING: Final[Json] = {
    "saved_s": maybe(NUMBER),
    "saved_s_interval": _INTERVAL,
    "speedup": maybe(NUMBER),
    "speedup_interval": _INTERVAL,
}
_BREAK_EVEN: Final[Json] = {
    "status": {"enum": ["from", "never", "always", "unknown"]},
    "batch": maybe(COUNT),
    "batch_interval": _INTERVAL,
    "requests_per_s": maybe(NUMBER),
}
_ENGINE: Final = shape({"profile": TEXT, "available": SWITCH, "in_flight": COUNT, "capacity": COUNT})
_ACTIVITY: Final[Json] = {
    "requests": COUNT,
    "speculative": COUNT,
    "tokens": COUNT,
    "speedup": {"type": ["object", "null"]},
}

DASHBOARD_SCHEMAS: Final[Json] = {
    "Claim": shape(
        {
            **dict.fromkeys(
                (
                    "requests",
                    "routed_requests",
                    "holdout_requests",
                    "other_requests",
                    "explored_requests",
                    "output_tokens",
                    "passes_saved",
                    "passes_made",
                    "holdout_needed",
                ),
                COUNT,
            ),
            "lost": shape({"routed": COUNT, "holdout": COUNT}),
            "speculative_share": maybe(SHARE),
            "taken_s": SECONDS,
            "vanilla_s": maybe(SECONDS),
            **_SAVING,
            "saved_share": maybe(NUMBER),
            "saved_share_interval": _INTERVAL,
            "completion": maybe(shape({"taken_s": SECONDS, **_SAVING})),
            "verdict": {"enum": list(get_args(Verdict))},
            "note": TEXT,
            "hours_to_tell": maybe(NUMBER),
        },
        about="What speculation saved; null is what cannot be told, and `note` says why.",
    ),
    "Report": shape(
        {
            "since": MOMENT,
            "until": MOMENT,
            "window_s": SECONDS,
            "tenant": maybe(TEXT),
            "task": maybe(TEXT),
            "confidence": SHARE,
            "source": TEXT,
            "store_up": SWITCH,
            "holdout": shape({"share": SHARE, "requests": COUNT, "expected": NUMBER}),
            "overall": ref("Claim"),
            "tasks": listed({"allOf": [ref("Claim"), shape({"task": TEXT})]}),
            "tenants": listed({"allOf": [ref("Claim"), shape({"tenant": TEXT})]}),
            "capacity": maybe(
                shape(
                    {
                        **_BREAK_EVEN,
                        "statement": TEXT,
                        "tasks": listed(shape({"task": TEXT, **_BREAK_EVEN})),
                    }
                )
            ),
            "notes": listed(TEXT),
        }
    ),
    "LiveState": shape(
        {
            "at": MOMENT,
            "window_s": SECONDS,
            "since": maybe(MOMENT),
            "router": {"type": "object"},
            "store": shape({"up": SWITCH, "age_s": maybe(NUMBER)}),
            "policy": shape({"name": TEXT, "revision": TEXT, "mode": TEXT, "rejected": SWITCH}),
            "load": shape({"running": COUNT, "waiting": COUNT, "slots": COUNT}),
            "engines": listed(_ENGINE),
            "scope": shape({"tenant": maybe(TEXT), "task": maybe(TEXT), "search": TEXT}),
            "total": shape(_ACTIVITY),
            "tasks": listed(shape({"task": TEXT, "evidence": listed({"type": "object"}), **_ACTIVITY})),
            "tenants": shape(
                {"known": COUNT, "matching": COUNT, "rows": listed(shape({"tenant": TEXT, **_ACTIVITY}))}
            ),
            "decisions": listed({"type": "object"}),
            "events": listed({"type": "object"}),
        },
        about="What the dashboard shows of this router at one moment.",
    ),
    "LiveHistory": shape(
        {"window_s": SECONDS, "alphas": named({}), "task": {}}, about="Past values, for the charts."
    ),
}


def dashboard_paths() -> dict[str, Json]:
    """The dashboard, what feeds it, and the report it shows."""
    page: dict[str, Any] = {"tag": "dashboard"}
    moved = {
        308: {
            "description": "To `/dashboard`.",
            "headers": {"Location": {"required": True, "schema": TEXT}},
        }
    }
    unchanged = {304: {"description": "As the ETag of If-None-Match names it."}}
    files = {
        kind: {"schema": TEXT}
        for kind in ("text/html", "text/css", "text/javascript", "image/svg+xml", "text/plain")
    }
    slash = operation("dashboardWithSlash", "Go to the dashboard", {}, answers=moved, **page)
    del slash["responses"]["200"]
    return {
        "/dashboard": {
            "get": operation(
                "dashboard",
                "Show the dashboard",
                answer("A page without any data; it asks for the admin token.", TEXT, kind="text/html"),
                answers=unchanged,
                **page,
            )
        },
        "/dashboard/": {"get": slash},
        "/dashboard/static/{name}": {
            "get": operation(
                "dashboardFile",
                "Show a file of the dashboard",
                {"description": "The file.", "content": files},
                errors=(404,),
                parameters=[
                    {
                        "name": "name",
                        "in": "path",
                        "required": True,
                        "description": "A path; slashes are part of it.",
                        "schema": {"type": "string", "minLength": 1},
                    }
                ],
                answers=unchanged,
                **page,
            )
        },
        "/admin/v1/live": {"get": _live()},
        "/admin/v1/report": {
            "get": operation(
                "report",
                "Show what speculation saved",
                answer("With intervals from requests held out, or why there are none.", ref("Report")),
                tag="admin",
                errors=(*ADMIN_ERRORS, 400, 503),
                parameters=[
                    query("window", "A duration, 24h unless given."),
                    query("tenant", "Only this tenant."),
                    query("task", "Only this task."),
                ],
                security=ADMIN_SECURITY,
            )
        },
    }


def _live() -> Json:
    told = {"state": ref("LiveState"), "history": ref("LiveHistory"), "end": {"type": "object"}}
    events = {
        "schema": {
            "oneOf": [
                event({"type": "string", "contentMediaType": JSON_TYPE, "contentSchema": schema}, named=name)
                for name, schema in told.items()
            ]
        }
    }
    return operation(
        "live",
        "Follow what the dashboard shows",
        {
            "description": "Events about every two seconds, for some minutes.",
            "content": {EVENTS_TYPE: events},
        },
        tag="dashboard",
        errors=(*ADMIN_ERRORS, 400, 503),
        parameters=[
            query("tenant", "Look at this tenant."),
            query("task", "Look at this task."),
            query("search", "Tenants whose name has this in it."),
            query("window", "How far the charts go back.", {"enum": ["15m", "1h", "6h"]}),
        ],
        security=ADMIN_SECURITY,
    )

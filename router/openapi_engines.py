"""The OpenAPI document's part about engines and the drafters they have loaded."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from router.openapi_policy import ADMIN_ERRORS, ADMIN_SECURITY
from router.openapi_words import (
    COUNT,
    JSON_TYPE,
    SWITCH,
    TEXT,
    Json,
    answer,
    body,
    listed,
    maybe,
    operation,
    query,
    ref,
    shape,
)

ENGINE_SCHEMAS: Final[Json] = {
    "Engines": shape(
        {
            "pools": listed(
                shape(
                    {
                        "profile": TEXT,
                        "method": TEXT,
                        "draft_model": maybe(TEXT),
                        "expected": COUNT,
                        "evidence_of": maybe(TEXT),
                        "engines": listed(
                            shape({"replica": TEXT, "drafter": maybe(TEXT), "leaving": SWITCH}),
                        ),
                    }
                )
            )
        },
        about="Of each engine the drafter's folder as it was when the engine started, links followed. "
        "`evidence_of` is the name of the folder whose drafts the pool's acceptance was measured on.",
    ),
    "Renewal": shape({"profile": TEXT, "replica": TEXT, "leaving": SWITCH}),
}


def engine_paths() -> dict[str, Json]:
    """What operators see of engines, and how one is started anew."""
    common: dict[str, Any] = {"tag": "admin", "security": ADMIN_SECURITY}
    given = shape({"profile": TEXT, "replica": TEXT}) | {"additionalProperties": False}
    return {
        "/admin/v1/engines": {
            "get": operation(
                "engines",
                "Show which drafter each engine has loaded",
                answer("By pool; an engine that is being started is not there yet.", ref("Engines")),
                errors=[*ADMIN_ERRORS, HTTPStatus.NOT_FOUND],
                parameters=[query("profile", "Only this pool.")],
                **common,
            )
        },
        "/admin/v1/engines/renew": {
            "post": operation(
                "renewEngine",
                "Start one engine anew, with the drafter that is there now",
                answer("It takes no new requests, ends those it has, and is replaced.", ref("Renewal")),
                errors=[
                    *ADMIN_ERRORS,
                    HTTPStatus.NOT_FOUND,
                    HTTPStatus.CONFLICT,
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                ],
                given=body({JSON_TYPE: given}, "Which engine."),
                **common,
            )
        },
    }

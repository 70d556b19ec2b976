"""The errors of the HTTP surface: OpenAI's error object, whatever went wrong."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from router.openapi_words import TEXT, Json, answer, listed, maybe, ref, shape

_RETRY_AFTER: Final[Json] = {"type": "string", "pattern": "^[0-9]+$", "description": "Seconds."}

ERROR_SCHEMAS: Final[Json] = {
    "Error": shape(
        {
            "error": shape(
                {
                    "message": {"type": "string", "description": "What is wrong, and what to do."},
                    "type": TEXT,
                    "param": maybe({"type": "string", "description": "The field or header at fault."}),
                    "code": {"type": ["integer", "string", "null"], "description": "Mostly the status."},
                },
                optional=("param", "code"),
            )
        },
        about="OpenAI's error object. It also ends a stream that fails after its first event.",
    ),
    "Problem": shape(
        {
            "line": maybe({"type": "integer"}),
            "column": maybe({"type": "integer"}),
            "path": TEXT,
            "message": TEXT,
            "hint": TEXT,
        },
        about="One thing that is wrong in a policy's text, with its place.",
    ),
    "InvalidPolicy": {
        "allOf": [
            ref("Error"),
            shape({"valid": {"const": False}, "problems": listed(ref("Problem"))}),
        ]
    },
    "InvalidPreferences": {
        "allOf": [
            ref("Error"),
            shape({"problems": listed(shape({"path": TEXT, "message": TEXT, "hint": TEXT}))}),
        ]
    },
}

_ERRORS: Final = {
    HTTPStatus.BAD_REQUEST: "The request is at fault; `param` names the field or header.",
    HTTPStatus.UNAUTHORIZED: "No key or token, or not the right one.",
    HTTPStatus.FORBIDDEN: "Not for this caller.",
    HTTPStatus.NOT_FOUND: "There is nothing of that name.",
    HTTPStatus.CONFLICT: "There is nothing this can be done with now.",
    HTTPStatus.PRECONDITION_FAILED: "If-Match: it was changed meanwhile; read it again.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than `http.max_body_bytes`.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "What was sent cannot be used.",
    HTTPStatus.PRECONDITION_REQUIRED: "If-Match is missing.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too much is in flight, of this tenant or of all.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "Path, query and headers are too large, or too many.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The engine failed on this request.",
    HTTPStatus.SERVICE_UNAVAILABLE: "No engine, or no store, can answer now.",
    HTTPStatus.GATEWAY_TIMEOUT: "There was no complete answer within the deadline.",
    HTTPStatus.INSUFFICIENT_STORAGE: "As many tenants as may have preferences have some.",
}
_RETRIED: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


def _response(status: HTTPStatus, about: str) -> Json:
    if status in _RETRIED:
        return answer(about, ref("Error"), headers={"Retry-After": _RETRY_AFTER})
    if status is HTTPStatus.UNAUTHORIZED:
        return answer(about, ref("Error"), headers={"WWW-Authenticate": {"const": "Bearer"}})
    return answer(about, ref("Error"))


ERROR_RESPONSES: Final[Json] = {
    str(int(status)): _response(status, about) for status, about in _ERRORS.items()
}

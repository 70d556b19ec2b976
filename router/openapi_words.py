"""What the parts of the OpenAPI document are written with: JSON Schemas, parameters, answers, operations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

Json = dict[str, Any]

JSON_TYPE: Final = "application/json"
EVENTS_TYPE: Final = "text/event-stream"

TEXT: Final[Json] = {"type": "string"}
NUMBER: Final[Json] = {"type": "number"}
COUNT: Final[Json] = {"type": "integer", "minimum": 0}
SHARE: Final[Json] = {"type": "number", "minimum": 0, "maximum": 1}
SWITCH: Final[Json] = {"type": "boolean"}
MOMENT: Final[Json] = {"type": "number", "description": "Seconds since 1970."}
SECONDS: Final[Json] = {"type": "number", "minimum": 0, "description": "Seconds."}


def ref(name: str) -> Json:
    """The schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(items: Json) -> Json:
    """A list of such values."""
    return {"type": "array", "items": items}


def named(values: Json) -> Json:
    """An object whose keys are free names."""
    return {"type": "object", "additionalProperties": values}


def maybe(schema: Json) -> Json:
    """Such a value, or null where it is not known."""
    return {"anyOf": [schema, {"type": "null"}]}


def shape(properties: Mapping[str, Json], *, optional: Collection[str] = (), about: str = "") -> Json:
    """An object with these members, all but the `optional` ones always there. Others may be added."""
    schema: Json = {"type": "object", "properties": dict(properties)}
    if required := [name for name in properties if name not in optional]:
        schema["required"] = required
    return {**schema, "description": about} if about else schema


def event(data: Json, *, named: str = "message") -> Json:
    """One server-sent event; a stream is described by any one of its events."""
    return {
        "type": "object",
        "description": "Each event: its name, and what stands after `data:`.",
        "properties": {"event": {"const": named}, "data": data},
        "required": ["data"],
    }


def query(name: str, about: str, schema: Json = TEXT) -> Json:
    """A parameter in the URL that may be left out."""
    return {"name": name, "in": "query", "required": False, "description": about, "schema": schema}


def header(name: str, about: str, schema: Json = TEXT, *, required: bool = False) -> Json:
    """A header of a request."""
    return {"name": name, "in": "header", "required": required, "description": about, "schema": schema}


def answer(
    about: str, schema: Json, *, kind: str = JSON_TYPE, headers: Mapping[str, Json] | None = None
) -> Json:
    """A response with a body; `headers` are schemas of those that are always there."""
    response: Json = {"description": about, "content": {kind: {"schema": schema}}}
    if headers:
        response["headers"] = {name: {"required": True, "schema": schema} for name, schema in headers.items()}
    return response


def body(kinds: Mapping[str, Json], about: str, *, required: bool = True) -> Json:
    """What a request brings, by content type."""
    content = {kind: {"schema": schema} for kind, schema in kinds.items()}
    return {"required": required, "description": about, "content": content}


def operation(
    name: str,
    summary: str,
    ok: Json,
    *,
    tag: str,
    errors: Iterable[int] = (),
    parameters: Sequence[Json] = (),
    given: Json | None = None,
    security: Sequence[Json] = (),
    answers: Mapping[int, Json] | None = None,
    about: str = "",
) -> Json:
    """One operation: `ok` is its answer 200, `errors` the statuses it answers OpenAI's error object with.

    Beside these every request may be refused for its head: 400 for a query that is not ASCII, 431.
    """
    statuses = sorted({*errors, HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE})
    responses: Json = {"200": ok}
    responses |= {str(int(status)): {"$ref": f"#/components/responses/{int(status)}"} for status in statuses}
    responses |= {str(status): response for status, response in (answers or {}).items()}
    made: Json = {"operationId": name, "summary": summary, "tags": [tag]}
    if about:
        made["description"] = about
    if parameters:
        made["parameters"] = list(parameters)
    if given is not None:
        made["requestBody"] = given
    return {**made, "security": list(security), "responses": dict(sorted(responses.items()))}

"""The OpenAPI document's part about completions: what the router reads, and what it adds to answers.

Everything else of a request and an answer is vLLM's, which has the last word on it.
"""

from __future__ import annotations

from typing import Any, Final, get_args

from policies.decide import Reason, Route
from policies.tasks import TASKS
from router.openapi_words import (
    COUNT,
    EVENTS_TYPE,
    JSON_TYPE,
    NUMBER,
    SECONDS,
    SHARE,
    SWITCH,
    TEXT,
    Json,
    body,
    event,
    header,
    listed,
    maybe,
    named,
    operation,
    ref,
    shape,
)
from router.requests import LEAST_WEIGHT, MAX_K

TENANT_SECURITY: Final[list[Json]] = [{"tenantKey": []}, {}]
TENANT_HEADER: Final = header(
    "X-Specroute-Tenant",
    "Whose request it is, where the deployment trusts this header.",
    {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
)

_FIELDS: Final[Json] = {
    "model": {"type": ["string", "null"], "description": "One that `/v1/models` lists."},
    "stream": {"type": ["boolean", "null"], "description": "Answer with server-sent events."},
    "stream_options": {
        "type": ["object", "null"],
        "properties": {"include_usage": {"type": ["boolean", "null"]}},
    },
    "max_tokens": {"type": ["integer", "null"], "minimum": 1},
    "temperature": {"type": ["number", "null"], "minimum": 0, "description": "0 to 0.3, to 0.8, above."},
    "n": {"type": ["integer", "null"], "minimum": 1},
    "stop": {"anyOf": [TEXT, listed(TEXT), {"type": "null"}]},
    "seed": {"type": ["integer", "null"]},
    "min_p": {"type": ["number", "null"], "description": "Speculation cannot serve it."},
    "logit_bias": {"type": ["object", "null"], "description": "Speculation cannot serve it."},
    "structured_outputs": {"type": ["object", "null"]},
    "response_format": {"type": ["object", "null"]},
    "metadata": {
        "type": ["object", "null"],
        "description": "`task` names the task, as X-Specroute-Task does.",
        "properties": {"task": {"type": ["string", "null"], "examples": list(TASKS)}},
    },
}

_MESSAGE: Final[Json] = shape(
    {"role": TEXT, "content": {"type": ["string", "array", "null"]}}, optional=("content",)
)
_USAGE: Final[Json] = shape({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT})
_HEAD: Final[Json] = {"id": TEXT, "object": TEXT, "created": COUNT, "model": TEXT}
_ARM: Final[Json] = {
    "type": "array",
    "prefixItems": [TEXT, COUNT],
    "minItems": 2,
    "maxItems": 2,
    "description": "A pool and k.",
}


def _completion(choice: dict[str, Json]) -> Json:
    members = {"index": COUNT, **choice, "finish_reason": maybe(TEXT)}
    return shape(
        {**_HEAD, "choices": listed(shape(members)), "usage": _USAGE, "specroute": ref("Details")},
        optional=("specroute",),
    )


COMPLETION_SCHEMAS: Final[Json] = {
    "Route": {"enum": list(get_args(Route))},
    "Reason": {"enum": [reason.value for reason in Reason]},
    "Arm": _ARM,
    "ChatRequest": shape(
        {"messages": listed(_MESSAGE), **_FIELDS, "max_completion_tokens": _FIELDS["max_tokens"]},
        optional=(*_FIELDS, "max_completion_tokens"),
        about="OpenAI's request, and vLLM's own fields. Listed is what the router reads, or what matters to "
        "it; the rest goes to vLLM as it came.",
    ),
    "CompletionRequest": shape(
        {"prompt": {"anyOf": [TEXT, listed(TEXT), listed(COUNT), listed(listed(COUNT))]}, **_FIELDS},
        optional=tuple(_FIELDS),
        about="As `ChatRequest`, with a prompt in the place of messages.",
    ),
    "ChatCompletion": _completion({"message": _MESSAGE}),
    "Completion": _completion({"text": TEXT}),
    "Details": shape(
        {
            "route": ref("Route"),
            "profile": TEXT,
            "replica": maybe(TEXT),
            "k": COUNT,
            "task": TEXT,
            "task_confidence": SHARE,
            "tenant": TEXT,
            "reason": ref("Reason"),
            "policy": {"type": "string", "description": "name@revision"},
            "propensity": SHARE,
            "alpha": maybe(SHARE),
            "steps": maybe(COUNT),
            "drafted": maybe(COUNT),
            "accepted": maybe(COUNT),
            "acceptance_length": maybe({"type": "number", "minimum": 1}),
            "per_step_drafted": maybe(listed(COUNT)),
            "per_step_accepted": maybe(listed(COUNT)),
            "completion_tokens": COUNT,
            "cached_tokens": COUNT,
            "expected_speedup": maybe(NUMBER),
            "confidence": maybe(SHARE),
            "predicted_s": maybe(SECONDS),
            "measured_s": maybe(SECONDS),
            "ttft_s": maybe(SECONDS),
            "queued_s": maybe(SECONDS),
            "failovers": COUNT,
            "continued_after": maybe(COUNT),
            "intended": maybe(ref("Arm")),
        },
        about="What happened to one request, where X-Specroute-Details asked: in the JSON body, or in the "
        "usage chunk of a stream. What is not known, or not complete, is null.",
    ),
    "ModelList": shape({"object": TEXT, "data": listed(shape({"id": TEXT, "object": TEXT}))}),
}

HINTS: Final[list[Json]] = [
    header("X-Specroute-Task", "The task, where the classifier should not guess.", {"enum": list(TASKS)}),
    header(
        "X-Specroute-Route",
        "Honoured where the policy allows overrides.",
        {"enum": ["auto", *get_args(Route)]},
    ),
    header(
        "X-Specroute-K",
        "Draft tokens per step, honoured where the policy allows overrides.",
        {"type": "integer", "minimum": 0, "maximum": MAX_K},
    ),
    header(
        "X-Specroute-Profile",
        "The pool, beside X-Specroute-Route or X-Specroute-K; honoured as these are, where it answers.",
        {"type": "string", "maxLength": 64},
    ),
    header(
        "X-Specroute-Deadline",
        "A duration such as 10s; without effect where it is longer than the policy's.",
        {"type": "string", "pattern": "^[1-9][0-9]{0,3}(ms|s|m)$"},
    ),
    header(
        "X-Specroute-Weight",
        "What the answer counts as evidence of acceptance: 0.2 where a prompt is sent five times.",
        {"type": "number", "minimum": LEAST_WEIGHT, "maximum": 1},
    ),
    header("X-Specroute-Details", "1 adds the `specroute` object to the answer.", {"enum": ["0", "1"]}),
    header(
        "X-Request-Id", "Taken over, where it is short and printable.", {"type": "string", "maxLength": 64}
    ),
    TENANT_HEADER,
]

_ROUTED_HEADERS: Final[dict[str, Json]] = {
    "X-Specroute-Route": ref("Route"),
    "X-Specroute-K": {"type": "integer", "minimum": 0, "maximum": MAX_K},
    "X-Specroute-Task": TEXT,
    "X-Specroute-Profile": TEXT,
    "X-Specroute-Reason": ref("Reason"),
    "X-Specroute-Policy": {"type": "string", "description": "name@revision"},
}
_ERRORS: Final = (400, 401, 403, 404, 413, 422, 429, 500, 503, 504)


def _routed(name: str, summary: str, wanted: str, made: str) -> Json:
    events = event(
        {
            "type": "string",
            "description": f"A chunk of a `{made}` as JSON; at last `[DONE]`. A failure on the way is an "
            "`Error` in the last event but that one.",
        }
    )
    content: Any = {JSON_TYPE: {"schema": ref(made)}, EVENTS_TYPE: {"schema": events}}
    headers = {name: {"required": True, "schema": schema} for name, schema in _ROUTED_HEADERS.items()}
    return operation(
        name,
        summary,
        {"description": "The answer, whole or as it comes.", "headers": headers, "content": content},
        tag="completions",
        errors=_ERRORS,
        parameters=HINTS,
        given=body({JSON_TYPE: ref(wanted)}, "OpenAI's request."),
        security=TENANT_SECURITY,
    )


def completion_paths() -> dict[str, Json]:
    """Completions, the models they may name, and whether anybody answers."""
    pools = {"pools": named(SWITCH)}
    ready = {"status": {"const": "ready"}, **pools}
    starting = {"status": {"const": "starting"}, **pools}
    retry = {"required": True, "schema": {"type": "integer"}}
    return {
        "/v1/chat/completions": {
            "post": _routed("chat", "Answer a conversation", "ChatRequest", "ChatCompletion")
        },
        "/v1/completions": {
            "post": _routed("complete", "Continue a text", "CompletionRequest", "Completion")
        },
        "/v1/models": {
            "get": operation(
                "listModels",
                "List the models that requests may name",
                {"description": "vLLM's list.", "content": {JSON_TYPE: {"schema": ref("ModelList")}}},
                tag="completions",
                errors=(401, 403, 503),
                parameters=[TENANT_HEADER],
                security=TENANT_SECURITY,
            )
        },
        "/healthz": {
            "get": operation(
                "health",
                "Tell whether the router runs",
                {
                    "description": "It does.",
                    "content": {JSON_TYPE: {"schema": shape({"status": {"const": "ok"}})}},
                },
                tag="health",
            )
        },
        "/readyz": {
            "get": operation(
                "ready",
                "Tell whether requests are answered",
                {"description": "By one pool at least.", "content": {JSON_TYPE: {"schema": shape(ready)}}},
                tag="health",
                answers={
                    503: {
                        "description": "By none yet.",
                        "headers": {"Retry-After": retry},
                        "content": {JSON_TYPE: {"schema": shape(starting)}},
                    }
                },
            )
        },
    }

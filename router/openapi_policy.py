"""The OpenAPI document's part about the policy: show it, check a text, change it."""

from __future__ import annotations

from typing import Any, Final, get_args

from policies.base import Mode
from policies.json_schema import policy_json_schema
from router.openapi_tenant import ETAG
from router.openapi_words import (
    COUNT,
    JSON_TYPE,
    MOMENT,
    NUMBER,
    SWITCH,
    TEXT,
    Json,
    answer,
    body,
    header,
    listed,
    maybe,
    operation,
    ref,
    shape,
)

ADMIN_SECURITY: Final[list[Json]] = [{"adminToken": []}, {}]
ADMIN_ERRORS: Final = (401, 403)
_YAML: Final = "application/yaml"
_REVISION: Final[Json] = {"type": "string", "pattern": "^[0-9a-f]{12}$"}
_SIGNED: Final = [
    header("X-Specroute-Author", "Who does it, for the history."),
    header("X-Specroute-Note", "Why, for the history."),
]


def policy_schemas() -> dict[str, Json]:
    """The policy's own format, from the models that check it, and what is told of it."""
    policy = policy_json_schema()
    policy.pop("$schema")
    definitions = {f"Policy{name}": schema for name, schema in policy.pop("$defs").items()}
    change = {
        "name": TEXT,
        "revision": _REVISION,
        "source": TEXT,
        "origin": TEXT,
        "author": TEXT,
        "note": TEXT,
    }
    return {
        **_renamed(definitions),
        "RoutingPolicy": _renamed(policy),
        "PolicyInForce": shape(
            {
                **change,
                "text": {"type": "string", "description": "The policy as YAML."},
                "version": maybe(COUNT),
                "at": maybe(MOMENT),
                "rejected": maybe({"type": "string", "description": "What is wrong with a newer one."}),
                "store_up": SWITCH,
                "file": shape({"path": maybe(TEXT), "revision": maybe(_REVISION), "in_force": SWITCH}),
                "history": listed(shape({**change, "version": COUNT, "at": MOMENT})),
                "routers": listed(
                    shape(
                        {
                            "id": TEXT,
                            "version": maybe(COUNT),
                            "revision": TEXT,
                            "rejects_newer": SWITCH,
                            "seen_s_ago": NUMBER,
                        }
                    )
                ),
                "warnings": listed(ref("Problem")),
            },
            optional=("warnings",),
        ),
        "PolicyCheck": shape(
            {
                "valid": {"const": True},
                "name": TEXT,
                "revision": _REVISION,
                "problems": {"type": "array", "maxItems": 0},
                "warnings": listed(ref("Problem")),
            }
        ),
        "PolicyDiff": shape(
            {
                "name": TEXT,
                "revision": _REVISION,
                "replacing": _REVISION,
                "changes": listed(shape({"who": TEXT, "change": TEXT})),
                "more": COUNT,
            },
            about="What a text would change for whom, the broadest changes first; `more` are left out.",
        ),
        "PolicyEdit": shape({"text": TEXT, "replacing": _REVISION}),
    }


def policy_paths() -> dict[str, Json]:
    """What operators do with policies."""
    shown = answer("The policy in force.", ref("PolicyInForce"), headers={"ETag": ETAG})
    invalid = {422: answer("All that is wrong with the text.", ref("InvalidPolicy"))}
    text = body(
        {_YAML: ref("RoutingPolicy"), JSON_TYPE: ref("RoutingPolicy")},
        "A policy's text, up to 1 MiB. It is read as YAML, which JSON is too, whatever Content-Type says.",
    )
    if_match = header("If-Match", "The ETag of the policy that was changed; * for any.")
    must_match = {**if_match, "required": True}
    common: dict[str, Any] = {"tag": "policy", "security": ADMIN_SECURITY}
    return {
        "/admin/v1/policy": {
            "get": operation("policy", "Show the policy in force", shown, errors=ADMIN_ERRORS, **common),
            "put": operation(
                "putPolicy",
                "Put a policy in force on all routers",
                shown,
                errors=(*ADMIN_ERRORS, 412, 413, 428, 503),
                parameters=[must_match, *_SIGNED],
                given=text,
                answers=invalid,
                **common,
            ),
        },
        "/admin/v1/policy/validate": {
            "post": operation(
                "validatePolicy",
                "Check a policy, change nothing",
                answer("It can be used.", ref("PolicyCheck")),
                errors=(*ADMIN_ERRORS, 413, 503),
                given=text,
                answers=invalid,
                **common,
            )
        },
        "/admin/v1/policy/diff": {
            "post": operation(
                "diffPolicy",
                "Show what a policy would change",
                answer("Beside the policy in force on this router.", ref("PolicyDiff")),
                errors=(*ADMIN_ERRORS, 413, 503),
                given=text,
                answers=invalid,
                **common,
            )
        },
        "/admin/v1/policy/edit": {
            "post": operation(
                "editPolicy",
                "Make a policy's text with another mode",
                answer(
                    "The text in force but for its mode; to put it, send `replacing` as If-Match.",
                    ref("PolicyEdit"),
                ),
                errors=(*ADMIN_ERRORS, 409, 413),
                given=body({JSON_TYPE: shape({"mode": {"enum": list(get_args(Mode))}})}, "The mode."),
                **common,
            )
        },
        "/admin/v1/policy/rollback": {
            "post": operation(
                "rollBackPolicy",
                "Put an earlier version in force again",
                shown,
                errors=(*ADMIN_ERRORS, 404, 412, 413, 503),
                parameters=[if_match, *_SIGNED],
                given=body(
                    {
                        JSON_TYPE: shape(
                            {"revision": {"anyOf": [_REVISION, {"type": "null"}]}}, optional=("revision",)
                        )
                    },
                    "The version; without one, or without a body, the one before.",
                    required=False,
                ),
                answers=invalid,
                **common,
            )
        },
        "/admin/v1/policy/promote": {
            "post": operation(
                "promoteCanary",
                "Put the canary's candidate in force",
                shown,
                errors=(*ADMIN_ERRORS, 409, 412, 503),
                parameters=[if_match, *_SIGNED],
                answers=invalid,
                **common,
            )
        },
    }


def _renamed(schema: Any) -> Any:
    """The schema with its references to `$defs` pointing to the document's components."""
    match schema:
        case {"$ref": str(reference)}:
            return {**schema, "$ref": f"#/components/schemas/Policy{reference.rpartition('/')[2]}"}
        case dict():
            return {key: _renamed(value) for key, value in schema.items()}
        case list():
            return [_renamed(value) for value in schema]
    return schema

"""`GET /openapi.json`: the HTTP surface as an OpenAPI 3.1 document, for clients, gateways and tests.

It describes every route and no other (a test compares); its parts stand in `router.openapi_*`, beside the
words they are written with in `router.openapi_words`. Models that check what comes in describe themselves.
"""

from __future__ import annotations

import functools
import json
from importlib.metadata import version
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.openapi_admin import ADMIN_SCHEMAS, admin_paths
from router.openapi_adoption import ADOPTION_SCHEMAS, adoption_paths
from router.openapi_completions import COMPLETION_SCHEMAS, completion_paths
from router.openapi_dashboard import DASHBOARD_SCHEMAS, dashboard_paths
from router.openapi_engines import ENGINE_SCHEMAS, engine_paths
from router.openapi_errors import ERROR_RESPONSES, ERROR_SCHEMAS
from router.openapi_policy import policy_paths, policy_schemas
from router.openapi_tenant import tenant_paths, tenant_schemas
from router.openapi_words import JSON_TYPE, Json, answer, operation
from router.settings import ADMIN_TOKEN_VARIABLE, METRICS_TOKEN_VARIABLE

_PATH: Final = "/openapi.json"
_ABOUT: Final = """\
OpenAI's endpoints, answered by speculative or plain vLLM engines as acceptance is measured, and what
operators and tenants may see and set. Whatever vLLM's own server accepts works unchanged. Every error is
OpenAI's error object. GET stands for HEAD too. Members that are not described may be added to any answer."""
_SECURITY: Final[Json] = {
    "tenantKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "A tenant's API key. Not needed where the deployment has no keys file, or lets "
        "callers be anonymous.",
    },
    "adminToken": {
        "type": "http",
        "scheme": "bearer",
        "description": f"The token of {ADMIN_TOKEN_VARIABLE}. Where the service has none the admin API is "
        "closed, or open to programs of its own machine.",
    },
    "metricsToken": {
        "type": "http",
        "scheme": "bearer",
        "description": f"The token of {METRICS_TOKEN_VARIABLE}, which opens nothing else.",
    },
}
_TAGS: Final = {
    "completions": "OpenAI's endpoints.",
    "health": "For probes: no key, no token.",
    "tenant": "What a tenant sees and sets with its own key.",
    "admin": "What operators see.",
    "policy": "What operators change.",
    "dashboard": "What the dashboard is made of.",
    "about": "This document.",
}


@functools.cache
def document() -> Json:
    """The document. Built once; not to be changed."""
    described = operation(
        "openapi",
        "Show this document",
        answer("OpenAPI 3.1.", {"type": "object", "required": ["openapi", "info", "paths"]}),
        tag="about",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "specroute",
            "version": version("specroute"),
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": {
            **completion_paths(),
            **tenant_paths(),
            **admin_paths(),
            **policy_paths(),
            **adoption_paths(),
            **dashboard_paths(),
            **engine_paths(),
            _PATH: {"get": described},
        },
        "components": {
            "schemas": {
                **ERROR_SCHEMAS,
                **COMPLETION_SCHEMAS,
                **ADMIN_SCHEMAS,
                **DASHBOARD_SCHEMAS,
                **tenant_schemas(),
                **policy_schemas(),
                **ADOPTION_SCHEMAS,
                **ENGINE_SCHEMAS,
            },
            "responses": ERROR_RESPONSES,
            "securitySchemes": _SECURITY,
        },
    }


def openapi_route() -> Route:
    """The endpoint. It says nothing of this deployment, so it needs no key."""
    written = json.dumps(document()).encode()

    async def show(_: Request) -> Response:
        return Response(written, media_type=JSON_TYPE)

    return Route(_PATH, show)

"""What the router reads of a request: enough to decide, never so much that the engine need not check."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pydantic_core import PydanticCustomError

from policies.cells import TemperatureBucket, temperature_bucket
from policies.decide import Route
from policies.tasks import TASKS
from policies.units import parse_duration
from router.conversations import NO_CONVERSATION, Conversation, conversation
from router.errors import BadRequestError
from router.lax_values import number

TASK_HEADER = "x-specroute-task"
ROUTE_HEADER = "x-specroute-route"
K_HEADER = "x-specroute-k"
PROFILE_HEADER = "x-specroute-profile"
DEADLINE_HEADER = "x-specroute-deadline"
DETAILS_HEADER = "x-specroute-details"
WEIGHT_HEADER = "x-specroute-weight"
REQUEST_ID_HEADER = "x-request-id"

ANONYMOUS = "anonymous"
"""The tenant of requests that name none."""
TENANT_NAME = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._-]{1,64}")
"""What a tenant may be called: safe in headers, metrics labels and store keys."""
MAX_K = 32
LEAST_WEIGHT = 0.001
"""One of a thousand answers to a prompt."""
_MAX_NAME = 64
_DEFAULT_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True)
class Hints:
    """What a client asked of the router itself."""

    task: str | None = None
    route: Route | None = None
    k: int | None = None
    profile: str | None = None
    """The pool for the wanted route or k."""
    details: bool = False
    deadline_s: float | None = None
    """Shorter than the policy's, or without effect."""
    weight: float = 1.0
    """See `policies.cells.Origin`."""


@dataclass(frozen=True, slots=True)
class RoutedRequest:
    """One request as the service sees it. `body` is what the engine will get, byte for byte."""

    request_id: str
    path: str
    tenant: str
    body: bytes
    fields: Mapping[str, Any]
    hints: Hints
    temperature: TemperatureBucket
    unsupported: bool
    conversation: Conversation = NO_CONVERSATION
    cache_salt: str = ""
    """See `replicas.frames.Call.cache_salt`."""

    @property
    def stream(self) -> bool:
        """Whether the answer is wanted as it comes."""
        return self.fields.get("stream") is True


def read_request(
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    tenant: str = ANONYMOUS,
    tasks: Collection[str] = TASKS,
    cache_salt: str = "",
) -> RoutedRequest:
    """Read a request for `path`; `headers` have lower-case names. A hint may name one of `tasks`.

    Whose request it is, `tenant`, is known before anything is read of it: see `router.tenancy`.

    Raises:
        BadRequestError: The body is no JSON object, or a hint cannot be understood.
    """
    fields = json_object(body)
    if not isinstance(fields.get("structured_outputs"), dict | None):
        # vLLM 0.32.0 answers these with an internal error.
        raise BadRequestError("structured_outputs: expected an object", param="structured_outputs")
    return RoutedRequest(
        request_id=_request_id(headers.get(REQUEST_ID_HEADER)),
        path=path,
        tenant=tenant,
        body=body,
        fields=fields,
        hints=Hints(
            task=_task(headers.get(TASK_HEADER), fields.get("metadata"), tasks),
            route=_route(headers.get(ROUTE_HEADER)),
            k=_k(headers.get(K_HEADER)),
            profile=(headers.get(PROFILE_HEADER) or "").strip()[:_MAX_NAME] or None,
            details=headers.get(DETAILS_HEADER, "").strip().lower() in {"1", "true"},
            deadline_s=_deadline_s(headers.get(DEADLINE_HEADER)),
            weight=_weight(headers.get(WEIGHT_HEADER)),
        ),
        temperature=_temperature(fields.get("temperature")),
        unsupported=_needs_plain_decoding(fields),
        conversation=conversation(tenant, fields),
        cache_salt=cache_salt,
    )


def json_object(body: bytes) -> Mapping[str, Any]:
    """The object a body holds. Raises BadRequestError where it is none."""
    try:
        fields = json.loads(body)
    except RecursionError:
        raise BadRequestError("body: nested too deeply") from None
    except ValueError as error:
        raise BadRequestError(f"body: not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadRequestError(f"body: expected a JSON object, not {type(fields).__name__}")
    return fields


def _request_id(given: str | None) -> str:
    if given and len(given) <= _MAX_NAME and given.isascii() and given.isprintable():
        return given
    return uuid4().hex


def _task(header: str | None, metadata: object, tasks: Collection[str]) -> str | None:
    given: object = header
    where = "header X-Specroute-Task"
    if given is None and isinstance(metadata, dict):
        given, where = metadata.get("task"), "metadata.task"
    if given is None:
        return None
    if not isinstance(given, str) or given.strip().lower() not in tasks:
        # Not shown unless it is short text: it may be as large, or as deep, as a body may be.
        shown = repr(given) if isinstance(given, str) and len(given) <= _MAX_NAME else "given"
        raise BadRequestError(
            f"{where}: unknown task {shown}; known: {', '.join(tasks)}", param=where.split()[-1]
        )
    return given.strip().lower()


def _route(given: str | None) -> Route | None:
    match (given or "auto").strip().lower():
        case "auto":
            return None
        case "speculative":
            return "speculative"
        case "vanilla":
            return "vanilla"
    raise BadRequestError(
        f"header X-Specroute-Route: {(given or '')[:_MAX_NAME]!r} is none of auto, speculative, vanilla",
        param="X-Specroute-Route",
    )


def _k(given: str | None) -> int | None:
    if given is None:
        return None
    text = given.strip()
    if not text.isascii() or not text.isdecimal() or len(text) > _MAX_NAME or int(text) > MAX_K:
        raise BadRequestError(
            f"header X-Specroute-K: {given[:_MAX_NAME]!r} is no whole number from 0 to {MAX_K}",
            param="X-Specroute-K",
        )
    return int(text)


def _deadline_s(given: str | None) -> float | None:
    if given is None:
        return None
    try:
        return parse_duration(given.strip()[:_MAX_NAME])
    except PydanticCustomError:
        raise BadRequestError(
            f"header X-Specroute-Deadline: {given[:_MAX_NAME]!r} is no duration; write it like 10s",
            param="X-Specroute-Deadline",
        ) from None


def _weight(given: str | None) -> float:
    if given is None:
        return 1.0
    try:
        weight = float(given.strip()[:_MAX_NAME])
    except ValueError:
        weight = math.nan
    if not LEAST_WEIGHT <= weight <= 1.0:
        raise BadRequestError(
            f"header X-Specroute-Weight: {given[:_MAX_NAME]!r} is no number from {LEAST_WEIGHT} to 1",
            param="X-Specroute-Weight",
        )
    return weight


def _temperature(given: object) -> TemperatureBucket:
    if isinstance(given, bool) or not isinstance(given, int | float):
        return temperature_bucket(_DEFAULT_TEMPERATURE)
    try:
        value = float(given)
    except OverflowError:  # JSON's whole numbers have no upper end
        value = math.inf
    return temperature_bucket(value if math.isfinite(value) else _DEFAULT_TEMPERATURE)


def _needs_plain_decoding(fields: Mapping[str, Any]) -> bool:
    """Whether vLLM refuses the request on a speculative engine: it does for min_p and logit_bias."""
    return bool(fields.get("logit_bias")) or (number(fields.get("min_p")) or 0.0) > 0

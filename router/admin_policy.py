"""The admin API of the policy: show it, change it, check a text, go back."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from policies.loading import PolicyError, Problem
from router.bodies import read_body
from router.errors import ApiError, BadRequestError, NotFoundError, UnavailableError
from router.policy_changes import PolicyChanges, Signature, UnknownRevisionError
from router.policy_file import MAX_BYTES, Loaded
from router.policy_protocol import PolicyRecordError, StalePolicyError
from router.policy_source import PolicySource
from router.policy_sync import PolicySync
from router.stats_protocol import StoreError

_MAX_WORDS: Final = 200
_RETRY_AFTER_S: Final = 2
_TAG = re.compile(r'\s*(W/)?("[^"]*"|[^\s",]+)\s*')

Handler = Callable[[Request], Awaitable[Response]]


class InvalidPolicyError(BadRequestError):
    """A policy text that cannot be used; the body lists every problem with its place."""

    status = 422

    def __init__(self, error: PolicyError) -> None:
        first = error.problems[0].path if error.problems else None
        super().__init__(str(error), param=first or None)
        self.problems = _entries(error.problems)

    def body(self) -> dict[str, Any]:
        """OpenAI's error object, and beside it what a validation tells."""
        return {"valid": False, "problems": self.problems, **super().body()}


class PolicyAdmin:
    """Handlers of `/admin/v1/policy`. The caller checks who may use them."""

    def __init__(self, source: PolicySource, sync: PolicySync, changes: PolicyChanges) -> None:
        self._source = source
        self._sync = sync
        self._changes = changes

    def routes(self, guarded: Callable[[Handler], Handler]) -> list[Route]:
        """The endpoints; `guarded` makes a handler check who asks."""
        path = "/admin/v1/policy"
        return [
            Route(path, guarded(self._policy), methods=["GET", "PUT"]),
            Route(f"{path}/validate", guarded(self.validate), methods=["POST"]),
            Route(f"{path}/rollback", guarded(self.roll_back), methods=["POST"]),
        ]

    async def _policy(self, request: Request) -> Response:
        if request.method == "PUT":
            return await self.put(request)
        return await self.get(request)

    async def get(self, _: Request) -> Response:
        """The policy in force on this router, the last versions, and what every router has in force."""
        return await self._shown()

    async def put(self, request: Request) -> Response:
        """Put the body in force on all routers, if the policy is still the one that If-Match names."""
        matches = _condition(request, required=True)
        text = await read_body(request, MAX_BYTES)
        with _Answers(self._source):
            policy, warnings = await self._changes.check(text)
            await self._changes.put(policy, matches, _signature(request))
        return await self._shown(warnings=_entries(warnings))

    async def validate(self, request: Request) -> Response:
        """Check the body, change nothing."""
        text = await read_body(request, MAX_BYTES)
        with _Answers(self._source):
            policy, warnings = await self._changes.check(text)
        about = {"valid": True, "name": policy.name, "revision": policy.revision}
        return JSONResponse({**about, "problems": [], "warnings": _entries(warnings)})

    async def roll_back(self, request: Request) -> Response:
        """Put an earlier version in force again: `{"revision": …}`, or without it the one before."""
        matches = _condition(request, required=False)
        revision = _wanted_revision(await read_body(request, MAX_BYTES))
        with _Answers(self._source):
            await self._changes.roll_back(revision, matches, _signature(request))
        return await self._shown()

    async def promote(self, candidate: Loaded, beside: str, request: Request) -> Response:
        """Put a canary's candidate in force, where the policy is still the revision it was tried `beside`."""
        matches = _condition(request, required=False)
        with _Answers(self._source):
            try:
                await self._changes.promote(
                    candidate, lambda revision: revision == beside and matches(revision), _signature(request)
                )
            except StalePolicyError as error:
                if error.current.change.revision == beside:
                    raise
                problem = f"{error}, not the one the candidate was tried beside: look at the canary again"
                raise BadRequestError(problem, status=412) from None
        return await self._shown()

    async def _shown(self, **besides: object) -> Response:
        state = self._source.state
        file, file_policy = self._source.file, self._source.file_policy
        body: dict[str, Any] = {
            **asdict(state),
            "store_up": self._sync.store_up,
            "file": {
                "path": str(file.path) if file.path else None,
                "revision": file_policy.revision if file_policy else None,
                "in_force": file_policy is not None and file_policy.revision == state.revision,
            },
            "history": [],
            "routers": [],
            **besides,
        }
        with suppress(StoreError):
            body["history"] = [version._asdict() for version in await self._sync.store.history()]
            body["routers"] = [
                {
                    "id": report.id,
                    "version": report.version,
                    "revision": report.revision,
                    "rejects_newer": report.rejects,
                    "seen_s_ago": age_s,
                }
                for report, age_s in await self._sync.store.routers()
            ]
        return JSONResponse(body, headers={"ETag": f'"{state.revision}"', "Cache-Control": "no-store"})


class _Answers:
    """Turns what can go wrong into the answer for the client."""

    def __init__(self, source: PolicySource) -> None:
        self._source = source

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Raise the ApiError that tells what happened."""
        match error:
            case PolicyError():
                raise InvalidPolicyError(error) from None
            case UnknownRevisionError():
                raise NotFoundError(f"revision: {error}", param="revision") from None
            case StalePolicyError():
                raise _stale(error) from None
            case PolicyRecordError():
                raise UnavailableError(str(error), retry_after_s=_RETRY_AFTER_S) from None
            case StoreError():
                raise UnavailableError(self._without_store(error), retry_after_s=_RETRY_AFTER_S) from None

    def _without_store(self, error: StoreError) -> str:
        path = self._source.file.path
        instead = (
            f"change the policy file {path}, which acts on every router by itself, or retry"
            if path
            else "retry; a policy file (policy.path) would act without the store"
        )
        return f"the policy cannot be changed through the store: {error}: {instead}"


def _stale(error: StalePolicyError) -> ApiError:
    place, change = error.current.place, error.current.change
    who = f" by {change.author}" if change.author else ""
    return BadRequestError(
        f"If-Match: the policy is {change.name}@{change.revision} now (version {place.number}, "
        f"{change.origin}{who}): GET it, change that, and send its ETag; or send If-Match: * to replace it "
        "whatever it is",
        param="If-Match",
        status=412,
    )


def _condition(request: Request, *, required: bool) -> Callable[[str], bool]:
    """Whether a revision is one that If-Match names."""
    given = ",".join(request.headers.getlist("if-match"))
    if not given.strip():
        if not required:
            return lambda _: True
        raise BadRequestError(
            "If-Match: missing: send the ETag of the policy you changed (GET tells it), "
            "or * to replace whatever is in force",
            param="If-Match",
            status=428,
        )
    if given.strip() == "*":
        return lambda _: True
    # Weak tags never match (RFC 9110, 13.1.1). Revisions may come without their quotes.
    named = {tag.strip('"') for weak, tag in _TAG.findall(given) if not weak}
    return lambda revision: revision in named


def _wanted_revision(body: bytes) -> str | None:
    if not body.strip():
        return None
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not values.keys() <= {"revision"}:
        raise BadRequestError(
            'body: expected {"revision": "<revision>"} as JSON, or nothing for the one before'
        )
    revision = values.get("revision")
    if revision is not None and not (isinstance(revision, str) and re.fullmatch("[0-9a-f]{12}", revision)):
        raise BadRequestError("revision: 12 hex digits, as the history lists them", param="revision")
    return revision


def _entries(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    keys = ("line", "column", "path", "message", "hint")
    return [{key: getattr(problem, key) for key in keys} for problem in problems]


def _signature(request: Request) -> Signature:
    return Signature(_words(request, "x-specroute-author"), _words(request, "x-specroute-note"))


def _words(request: Request, header: str) -> str:
    """A header's text, UTF-8 or else Latin-1, on one line."""
    raw = request.headers.get(header, "").encode("latin-1")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return "".join(character for character in text if character.isprintable())[:_MAX_WORDS]

"""The admin API of policies that are not in force: what a text would change, and a text with another mode."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Final, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from policies.base import Mode
from policies.diff import differences
from policies.loading import PolicyError
from policies.problems import choices_hint
from router.admin_policy import InvalidPolicyError
from router.bodies import read_body
from router.errors import BadRequestError
from router.policy_changes import PolicyChanges
from router.policy_differences import difference_entry, difference_words
from router.policy_edit import EditError, with_mode
from router.policy_file import MAX_BYTES
from router.policy_source import PolicySource

_MOST_CHANGES: Final = 500
_CONFLICT: Final = 409

Handler = Callable[[Request], Awaitable[Response]]


class PolicyDrafts:
    """Handlers of `/admin/v1/policy/diff` and `/admin/v1/policy/edit`, which put nothing in force."""

    def __init__(self, source: PolicySource, changes: PolicyChanges) -> None:
        self._source = source
        self._changes = changes

    def routes(self, guarded: Callable[[Handler], Handler]) -> list[Route]:
        """The endpoints; `guarded` makes a handler check who asks."""
        return [
            Route("/admin/v1/policy/diff", guarded(self.diff), methods=["POST"]),
            Route("/admin/v1/policy/edit", guarded(self.edit), methods=["POST"]),
        ]

    async def diff(self, request: Request) -> Response:
        """What the body would change for whom, if it took the place of the policy in force on this router.

        `{name, revision, replacing, changes: [{who, change, except, …}], more}`: `replacing` is the revision
        compared with; the broadest changes first, `more` of them are left out.
        """
        text = await read_body(request, MAX_BYTES)
        try:
            wanted, _ = await self._changes.check(text)
        except PolicyError as error:
            raise InvalidPolicyError(error) from None
        present = self._source.loaded
        found = await asyncio.to_thread(differences, present.table.policy, wanted.table.policy)
        return _answer(
            {
                "name": wanted.name,
                "revision": wanted.revision,
                "replacing": present.revision,
                "changes": [
                    {**difference_entry(row), **difference_words(row)} for row in islice(found, _MOST_CHANGES)
                ],
                "more": max(0, len(found) - _MOST_CHANGES),
            }
        )

    async def edit(self, request: Request) -> Response:
        """The text in force with another `{"mode": …}`, all else and comments as before: `{text, replacing}`.

        Whoever puts it sends `replacing` as If-Match, so that nobody else's change is lost.
        """
        mode = _wanted_mode(await read_body(request, MAX_BYTES))
        present = self._source.loaded
        try:
            # The text is parsed three times, and a long one takes its time.
            text = await asyncio.to_thread(with_mode, present.text.decode(), mode)
        except EditError as error:
            raise BadRequestError(str(error), param="mode", status=_CONFLICT) from None
        return _answer({"text": text, "replacing": present.revision})


def _answer(body: dict[str, object]) -> Response:
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def _wanted_mode(body: bytes) -> Mode:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or values.keys() != {"mode"}:
        raise BadRequestError('body: expected {"mode": "<mode>"} as JSON')
    for mode in get_args(Mode):
        if values["mode"] == mode:
            found: Mode = mode
            return found
    hint = choices_hint(str(values["mode"])[:64], get_args(Mode))
    raise BadRequestError(f"mode: unknown mode; {hint}", param="mode")

"""What goes over the line for a request to the model, message by message."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any
from unittest.mock import Mock

import pytest

from router.completions import Completions
from router.requests import RoutedRequest
from router.service import Response
from router.settings import DeploymentSettings

pytestmark = pytest.mark.unit

SCOPE = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}


class Service:
    """Answers with these parts, and notes when it is done."""

    tasks = ("other",)

    def __init__(self, content_type: str, *parts: bytes, ends: bytes | None = None) -> None:
        self._content_type = content_type
        self._parts = parts
        self._ends = ends
        self._part = b""
        self.log: list[Any] = []

    async def respond(self, request: RoutedRequest) -> Response:
        """Always the same."""
        assert request.fields == {"prompt": "p"}
        return Response(
            200, self._content_type, {"X-Specroute-K": "0"}, self._body(), lambda: self._part == self._ends
        )

    async def _body(self) -> AsyncGenerator[bytes, None]:
        for part in self._parts:
            self._part = part
            yield part
        self.log.append("ended")


async def answered(service: Service) -> list[Any]:
    """What was sent, and when the service was done."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps({"prompt": "p"}).encode()}

    async def send(message: Any) -> None:
        service.log.append((message.get("body", message.get("headers")), message.get("more_body", False)))

    tenants = Mock()
    tenants.tenant.return_value = "anonymous"
    await Completions(DeploymentSettings(), service, Mock(), tenants)(SCOPE, receive, send)
    return service.log


async def test_a_stream_is_passed_on_part_by_part() -> None:
    """Where nobody can tell which part is the last it ends when the service is done with it."""
    head, *rest = await answered(Service("text/event-stream", b"a", b"b"))
    assert head == ([(b"x-specroute-k", b"0"), (b"content-type", b"text/event-stream; charset=utf-8")], False)
    assert rest == [(b"a", True), (b"b", True), "ended", (b"", False)]


async def test_a_stream_ends_with_its_last_part() -> None:
    """The service is read to its end all the same, before anybody else has a turn."""
    _, *rest = await answered(Service("text/event-stream", b"a", b"b", ends=b"b"))
    assert rest == [(b"a", True), (b"b", False), "ended"]


async def test_nothing_is_sent_after_the_end() -> None:
    """Whatever a service would still say."""
    _, *rest = await answered(Service("text/event-stream", b"a", b"b", ends=b"a"))
    assert rest == [(b"a", False), "ended"]


async def test_a_whole_answer_is_sent_as_soon_as_it_is_there() -> None:
    """The service ends its work on it afterwards."""
    head, *rest = await answered(Service("application/json", b"{", b"}", ends=b"}"))
    assert (b"content-length", b"2") in head[0]
    assert rest == [(b"{}", False), "ended"]


async def test_a_whole_answer_is_sent_in_one_piece() -> None:
    """With its length."""
    ended, head, *rest = await answered(Service("application/json", b"{", b"}"))
    assert (b"content-length", b"2") in head[0]
    assert [ended, *rest] == ["ended", (b"{}", False)]

"""Keeps a sample of questions and answers for drafters to learn from, where the deployment says so.

Requests never wait for it. The bytes of a sampled answer are gathered beside the stream and queued when it is
over; where the queue is full they are dropped and counted. A thread reads them, redacts them and writes them;
what goes wrong there costs rows, which are counted, and one line in the service's log.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Final, Protocol

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from router.capture_files import CaptureFiles
from router.capture_settings import ALL_TENANTS, CaptureSettings
from router.captured_row import Redaction, Taken, captured_row, is_plain
from router.requests import RoutedRequest
from router.service import Response

_log = logging.getLogger(__name__)

_PATH: Final = "/v1/chat/completions"
_WAITING: Final = 32
_CLOSE_S: Final = 2.0
_STREAMED: Final = 16
"""Events have this many times the bytes of the text in them, about."""


class Responding(Protocol):
    """What answers requests: `router.service.RoutingService`, or something around it."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task a request may name now."""
        ...

    async def respond(self, request: RoutedRequest) -> Response:
        """Answer a request."""
        ...


class Capture:
    """Rows of sampled answers; `around` a service it sees what goes by."""

    def __init__(
        self,
        folder: Path,
        settings: CaptureSettings,
        *,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
        waiting: int = _WAITING,
    ) -> None:
        self._settings = settings
        self._tenants = frozenset(settings.tenants)
        self._clock = clock
        self._draw = draw
        self._redaction = Redaction(settings.redact)
        self._files = CaptureFiles(folder, settings)
        self._queue: Queue[Taken | None] = Queue(waiting)
        self._thread = threading.Thread(target=self._write_all, name="capture", daemon=True)
        self._failing = False
        self.counts = dict.fromkeys(("written", "skipped", "too_long", "dropped", "failed"), 0)
        """What became of the sampled answers so far."""

    def around(self, service: Responding) -> CapturingService:
        """The same service, of which this sees the answers."""
        return CapturingService(service, self)

    def wants(self, request: RoutedRequest) -> bool:
        """Whether this request's answer is kept, if it comes to its end."""
        return (
            request.path == _PATH
            and (request.tenant in self._tenants or ALL_TENANTS in self._tenants)
            and self._draw() < self._settings.sample
            and is_plain(request.fields)
        )

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits, as far as that is quick."""
        while self._thread.is_alive():
            try:
                self._queue.put_nowait(None)
                break
            except Full:
                with suppress(Empty):
                    self._queue.get_nowait()
                    self.counts["dropped"] += 1
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    async def watched(self, request: RoutedRequest, response: Response) -> AsyncGenerator[bytes, None]:
        """The response's body as it is; when it has come to its end, it is queued."""
        parts: list[bytes] | None = []
        room = _STREAMED * self._settings.max_row_bytes - len(request.body)
        async with aclosing(response.body) as body:
            async for data in body:
                if parts is not None:
                    parts.append(data)
                    room -= len(data)
                    if room < 0:
                        parts = None
                yield data
        if parts is None:
            self.counts["too_long"] += 1
        else:
            self._submit(request, response, b"".join(parts))

    def _submit(self, request: RoutedRequest, response: Response, body: bytes) -> None:
        taken = Taken(request.fields, response.headers.get("X-Specroute-Task", ""), body, self._clock())
        try:
            self._queue.put_nowait(taken)
        except Full:
            self.counts["dropped"] += 1

    def _write_all(self) -> None:
        while (taken := self._queue.get()) is not None:
            try:
                result = self._write(taken)
            except Exception as error:  # noqa: BLE001 - it must not end for one answer
                self.counts["failed"] += 1
                if not self._failing:
                    self._failing = True
                    # Not its traceback: there might be text of a client in it.
                    _log.error(
                        "capture: %s: %s; what is not kept is counted", type(error).__name__, _told(error)
                    )
            else:
                self.counts[result] += 1
                if result == "written":
                    self._failing = False
        self._files.close()

    def _write(self, taken: Taken) -> str:
        row = captured_row(taken, self._redaction)
        if row is None:
            return "skipped"
        if len(row) > self._settings.max_row_bytes:
            return "too_long"
        self._files.write(row)
        return "written"


class CapturingService:
    """A service whose answers a capture sees."""

    def __init__(self, service: Responding, capture: Capture) -> None:
        self._service = service
        self._capture = capture

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task a request may name now."""
        return self._service.tasks

    async def respond(self, request: RoutedRequest) -> Response:
        """Answer a request; see `RoutingService.respond`."""
        response = await self._service.respond(request)
        if response.status != HTTPStatus.OK or not self._capture.wants(request):
            return response
        return replace(response, body=self._capture.watched(request, response))


class CaptureCollector(Collector):
    """What became of the sampled answers, read when it is scraped."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def collect(self) -> Iterator[Metric]:
        """The one family; Prometheus' library calls it for each scrape."""
        rows = CounterMetricFamily(
            "specroute_captured_answers",
            "Answers to be captured, by what became of them.",
            labels=("result",),
        )
        for result, count in self._capture.counts.items():
            rows.add_metric([result], count)
        yield rows


def opened_capture(settings: CaptureSettings) -> Capture | None:
    """The capture of a deployment, None where it keeps nothing."""
    return None if settings.folder is None else Capture(Path(settings.folder), settings)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, OSError) else "see the row's form"

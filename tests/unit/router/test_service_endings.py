"""Every way in which a request can end: one outcome of it, and nothing held afterwards.

Deadlines pass in the event loop's own time (`skipping`): only what waits for ever reaches them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fakes import FakePool, Harness, Script, gone, last, more, opening, request, settled, whole

from router.errors import ApiError, DeadlineError
from router.outcomes import Result

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("skipping")]

SHORT = {"limits": {"deadline": "20ms"}}


def never() -> asyncio.Event:
    """Something that does not happen."""
    return asyncio.Event()


async def read_all(harness: Harness) -> None:
    """A client that stays to the end."""
    await harness.answer(request(stream=True))


async def leave_before_the_first_frame(harness: Harness) -> None:
    """A client that gives up while nothing has come yet."""
    call = asyncio.create_task(harness.service.respond(request(stream=True)))
    await harness.ngram.waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


def leave_after(parts: int) -> Callable[[Harness], Awaitable[None]]:
    """A client that closes the answer after so many parts."""

    async def client(harness: Harness) -> None:
        response = await harness.service.respond(request(stream=True))
        for _ in range(parts):
            await anext(response.body)
        await response.body.aclose()

    return client


async def leave_while_waiting_for_more(harness: Harness) -> None:
    """A client whose handler is cancelled between two frames."""
    call = asyncio.create_task(read_all(harness))
    await harness.ngram.waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


class Case(NamedTuple):
    """A script of the speculative pool, a client, and how the request must end."""

    name: str
    script: Callable[[], Script]
    client: Callable[[Harness], Awaitable[None]]
    result: Result
    status: int
    error: type[ApiError] | None = None
    spec: dict[str, Any] = {}  # noqa: RUF012 - never changed


STREAM: Callable[[], Script] = lambda: [opening(), more(), last()]  # noqa: E731 - reads best beside its uses
ENDINGS = [
    Case("completed", STREAM, read_all, "completed", 200),
    Case("completed in one frame", lambda: [whole()], read_all, "completed", 200),
    Case("refused by the engine", lambda: [whole(b"{}", status=400)], read_all, "refused", 400),
    Case("failed in the middle", lambda: [opening(), gone()], read_all, "failed", 200),
    Case("ended in the middle", lambda: [opening(), more()], read_all, "failed", 200),
    Case("a bug of the engine", lambda: [KeyError("x")], read_all, "failed", 500, ApiError),
    Case("a bug in the middle", lambda: [opening(), KeyError("x")], read_all, "failed", 200),
    Case("failed after the end", lambda: [opening(), last(), gone()], read_all, "completed", 200),
    Case("never begun", lambda: [never()], leave_before_the_first_frame, "cancelled", 0),
    Case("left unread", STREAM, leave_after(0), "cancelled", 200),
    Case("left after the first frame", STREAM, leave_after(1), "cancelled", 200),
    Case("left in the middle", STREAM, leave_after(2), "cancelled", 200),
    Case("left after the last frame", STREAM, leave_after(3), "completed", 200),
    Case(
        "cancelled in the middle",
        lambda: [opening(), never()],
        leave_while_waiting_for_more,
        "cancelled",
        200,
    ),
    Case(
        "cancelled after the last frame",
        lambda: [opening(), last(), never()],
        leave_while_waiting_for_more,
        "completed",
        200,
    ),
    Case("too late to begin", lambda: [never()], read_all, "failed", 504, DeadlineError, SHORT),
    Case("too late to end", lambda: [opening(), never()], read_all, "failed", 200, None, SHORT),
    Case(
        "too late after the end",
        lambda: [opening(), last(), never()],
        read_all,
        "completed",
        200,
        None,
        SHORT,
    ),
]


@pytest.mark.parametrize("case", ENDINGS, ids=[case.name for case in ENDINGS])
async def test_every_ending_is_one_outcome(case: Case, tmp_path: Path) -> None:
    """However a request ends there is one outcome of it, nothing is held, and only completed ones teach."""
    harness = await Harness(tmp_path, ngram=FakePool(case.script()), **case.spec).ready()
    if case.error is None:
        await case.client(harness)
    else:
        with pytest.raises(case.error):
            await case.client(harness)
    assert await settled(lambda: harness.idle and bool(harness.outcomes))
    (outcome,) = harness.outcomes
    assert (outcome.result, outcome.status) == (case.result, case.status)
    assert (outcome.error is None) == (case.result in {"completed", "refused"})
    assert harness.learned_requests == (case.result == "completed")


@pytest.mark.parametrize("case", ENDINGS, ids=[case.name for case in ENDINGS])
async def test_every_ending_gives_its_slot_back(case: Case, tmp_path: Path) -> None:
    """With room for one request, the next one is admitted after any ending."""
    limits = {"max_concurrency": 1, **case.spec.get("limits", {})}
    harness = await Harness(tmp_path, ngram=FakePool(case.script(), [whole()]), limits=limits).ready()
    if case.error is None:
        await case.client(harness)
    else:
        with pytest.raises(case.error):
            await case.client(harness)
    assert await settled(lambda: harness.idle)
    await harness.pools.poll()
    assert await harness.answer() == b'{"id":"x"}'
    assert harness.idle


async def test_a_deadline_in_the_middle_is_told_in_the_stream(tmp_path: Path) -> None:
    """The client of a stream that took too long reads which limit ended it."""
    harness = await Harness(tmp_path, ngram=FakePool([opening(), never()]), **SHORT).ready()
    body = await harness.answer(request(stream=True))
    assert b"limits.deadline of 0.02 s" in body
    assert body.endswith(b"data: [DONE]\n\n")
    assert "limits.deadline" in (harness.outcomes[0].error or "")


async def test_the_deadline_spans_a_failover(tmp_path: Path) -> None:
    """A second pool has what is left of the time, not all of it anew."""
    harness = await Harness(tmp_path, vanilla=FakePool([never()]), ngram=FakePool([gone()]), **SHORT).ready()
    with pytest.raises(DeadlineError):
        await harness.answer()
    assert (harness.outcomes[0].failovers, harness.outcomes[0].result) == (1, "failed")
    assert harness.idle

"""What becomes of a request whose engine fails: another one answers it, or goes on with its stream.

An answer that is not streamed, and a stream of which nothing was sent, are asked for again as a whole. A
stream that has begun is continued: another replica gets the tokens of the prompt and of the answer so far and
makes the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Final

from policies.decide import Reason
from policies.inflight import part_of
from replicas.frames import Call, Frame, ReplicaBusyError, ReplicaError, Resume, joined, packed
from router.deciding import Decider
from router.dispatch import Dispatch
from router.pools import Pools

_log = logging.getLogger(__name__)

MAX_RETRIES: Final = 2
"""Most moves of one request: a request that ends engines must not end them all."""
RETRY_SHARE: Final = 0.2
MIN_RETRIES: Final = 3

_NOT_CONTINUED: Final = ("tools", "functions", "structured_outputs", "echo", "use_beam_search")
"""Requests with these fields end with their engine: parsers and grammars would need their state."""


class RetryBudget:
    """Retries under way at once: at most max(minimum, share * requests in flight), Envoy's retry budget.

    A retry is under way until its first frame. The others wait in line for as long as their deadlines last,
    where Envoy would fail them: when one of two engines dies, half of the requests must move.
    """

    def __init__(self, *, share: float = RETRY_SHARE, minimum: int = MIN_RETRIES) -> None:
        self._share = share
        self._minimum = minimum
        self._line: deque[asyncio.Future[None]] = deque()
        self.requests = 0
        """In flight, retries among them."""
        self.retries = 0
        """Under way."""

    @property
    def limit(self) -> int:
        """How many may be under way now."""
        return max(self._minimum, int(self._share * self.requests))

    async def turn(self) -> None:
        """Wait for a turn to retry; `done` gives it back."""
        if self.retries < self.limit and not self._line:
            self.retries += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.done()
            else:
                with suppress(ValueError):  # `done` may have passed it by since
                    self._line.remove(waiter)
            raise

    def done(self) -> None:
        """A retry has its first frame, or failed."""
        self.retries -= 1
        while self._line and self.retries < self.limit:
            waiter = self._line.popleft()
            if not waiter.done():
                self.retries += 1
                waiter.set_result(None)


class Failover:
    """Frames of a request, from as many replicas as it takes."""

    def __init__(self, *, pools: Pools, decider: Decider, budget: RetryBudget | None = None) -> None:
        self._pools = pools
        self._decider = decider
        self._budget = budget or RetryBudget()

    async def frames(self, dispatch: Dispatch) -> AsyncGenerator[Frame, None]:
        """Frames of the pool that was chosen; of others if that fails and something can be done about it.

        Raises ReplicaError when nothing can be done, and UnavailableError when no pool is left.
        """
        budget, retrying = self._budget, False
        budget.requests += 1
        try:
            while True:
                try:
                    async with aclosing(self._attempt(dispatch)) as frames:
                        async for frame in frames:
                            if retrying:
                                retrying = False
                                budget.done()
                            yield frame
                except ReplicaError as error:
                    if retrying:
                        retrying = False
                        budget.done()
                    if not _may_move(dispatch, error):
                        raise
                    await budget.turn()
                    retrying = True
                    self._move(dispatch, error)
                else:
                    return
        finally:
            budget.requests -= 1
            if retrying:
                budget.done()

    def _move(self, dispatch: Dispatch, error: ReplicaError) -> None:
        """Decide again. What is known to have failed counts as away now, so that leads elsewhere."""
        tokens = dispatch.sent_tokens
        dispatch.trace.moved(error, tokens=tokens)
        failed = frozenset({dispatch.decision.profile})
        known = bool(error.replica or error.process)
        if not known or failed <= dispatch.failed_at:
            dispatch.avoid |= failed
        dispatch.failed_at |= failed
        again, _, home = self._decider.decide(
            dispatch.request, dispatch.task, dispatch.policy, canary=dispatch.canary, avoid=dispatch.avoid
        )
        dispatch.decision = replace(again, reason=Reason.FAILOVER)
        dispatch.trace.decided(dispatch.decision, dispatch.policy_label)
        dispatch.home = "" if home == error.replica else home
        dispatch.failovers += 1
        if dispatch.status:
            dispatch.continued += 1
        _log.info(
            "request %s goes on at %s after %d tokens: %s",
            dispatch.request.request_id,
            again.profile,
            tokens,
            error,
        )

    async def _attempt(self, dispatch: Dispatch) -> AsyncGenerator[Frame, None]:
        """Frames of one replica: those of a stream as they come, any other answer as one.

        Raises ReplicaError when they end before the answer does.
        """
        request, decision = dispatch.request, dispatch.decision
        resume = _resume(dispatch)
        part = part_of(decision.score, dispatch.work)
        held: list[Frame] = []
        ended = streaming = False
        number, tokens = dispatch.failovers + 1, dispatch.sent_tokens
        with dispatch.trace.attempt(decision, number=number, tokens=tokens) as attempt:
            call = Call(
                request_id=request.request_id,
                path=request.path,
                body=request.body,
                k=decision.k,
                details=request.hints.details,
                prompt_tokens=dispatch.transcript is not None and resume is None,
                resume=resume,
                cache_salt=request.cache_salt,
                trace=attempt.headers,
            )
            async with aclosing(self._pools.serve(decision.profile, call, part, dispatch.home)) as frames:
                async for frame in frames:
                    if frame.status:
                        attempt.answered(frame)
                        streaming = frame.content_type.startswith("text/event-stream")
                        if resume is not None and not streaming:
                            raise ReplicaError("the other engine would not go on with the stream")
                    ended = frame.ending is not None
                    if streaming:
                        yield frame
                        continue
                    held.append(frame)
                    if ended:
                        yield joined(held)
            if not ended:
                raise ReplicaError("the engine's answer just ended")


def is_continuable(fields: Mapping[str, Any]) -> bool:
    """Whether a stream of this request may go on elsewhere, as far as its fields tell.

    The engine has the last word: see `Frame.head`.
    """
    form = fields.get("response_format")
    is_text = not form or (isinstance(form, dict) and form.get("type") == "text")
    return is_text and not any(fields.get(name) for name in _NOT_CONTINUED)


def _may_move(dispatch: Dispatch, error: ReplicaError) -> bool:
    if dispatch.ending is not None or dispatch.failovers >= MAX_RETRIES:
        return False
    if isinstance(error, ReplicaBusyError) and not dispatch.failovers:
        return False  # a full queue is an answer; but what was moved already should not fail for it
    return not dispatch.status or _resume(dispatch) is not None


def _resume(dispatch: Dispatch) -> Resume | None:
    """Where the stream broke off; None where it has not begun, or nobody can go on from there."""
    sent = dispatch.transcript
    if not dispatch.head or sent is None or not sent.prompt or not sent.answer:
        return None
    if not is_continuable(dispatch.request.fields):
        return None
    return Resume(sent.prompt, packed(sent.answer), dispatch.head)

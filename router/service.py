"""The walk of one request: classify, decide, dispatch, record.

Nothing here waits for the store, and every dispatch ends in exactly one outcome, cancellation included.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from replicas.frames import Frame
from replicas.logs import bind
from router.admission import Admission
from router.canary import Canary
from router.choosing import choose
from router.deciding import Decider
from router.details import headers, sent_bytes
from router.dispatch import Dispatch
from router.errors import ApiError, TooManyRequestsError
from router.failover import Failover
from router.learning import Learning
from router.outcomes import OutcomeHook, Result
from router.pools import Pools
from router.replaying import Replayer, Transcript
from router.requests import RoutedRequest
from router.tasks import TaskClassifier, request_text
from router.tracing import NoTracer, Tracer
from router.waiting import Deadline

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that has begun: everything but the rest of its body is known."""

    status: int
    content_type: str
    headers: Mapping[str, str]
    body: AsyncGenerator[bytes, None]
    """Who has read the last part reads on: the request is recorded then, without waiting for anything."""
    complete: Callable[[], bool] = bool
    """Whether the part that was read last is known to end the answer."""


class RoutingService:
    """Routes requests to pools and learns from how they went."""

    def __init__(
        self,
        *,
        policies: Canary,
        pools: Pools,
        classifier: TaskClassifier,
        learning: Learning,
        decider: Decider,
        replayer: Replayer | None = None,
        admission: Admission | None = None,
        hooks: Iterable[OutcomeHook] = (),
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
        tracer: Tracer | None = None,
    ) -> None:
        self._policies = policies
        self._failover = Failover(pools=pools, decider=decider)
        self._classifier = classifier
        self._learning = learning
        self._decider = decider
        self._replayer = replayer
        self._hooks = tuple(hooks)
        self._tracer = tracer or NoTracer()
        self._clock = clock
        self._timer = timer
        self._admission = admission or Admission(pools, timer=timer)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task a request may name now."""
        return self._policies.tasks

    async def respond(self, request: RoutedRequest) -> Response:
        """Answer a request. Returns when the first part of the answer is there.

        The caller must exhaust or close the response's body. Raises ApiError.
        """
        dispatch = self._begin(request)
        frames = self._frames(dispatch)
        try:
            first = await anext(frames)
        except BaseException:
            await frames.aclose()
            raise
        return Response(
            status=dispatch.status,
            content_type=first.content_type,
            headers=headers(dispatch.decision, task=dispatch.task, policy=dispatch.policy_label),
            body=self._body(dispatch, first, frames),
            complete=lambda: dispatch.ending is not None,
        )

    def _begin(self, request: RoutedRequest) -> Dispatch:
        started, arrived_s = self._timer(), asyncio.get_running_loop().time()
        trace = self._tracer.begin(request)
        bind(request.request_id, trace.trace_id)
        if request.hints.task is not None:
            task, confidence = request.hints.task, 1.0
        else:
            found = self._classifier.classify(request_text(request.fields))
            task, confidence = found.task, found.confidence
        trace.classified(task, confidence, hinted=request.hints.task is not None)
        chosen, (decision, work, home) = choose(
            self._policies, self._decider, request, task, self._admission.has_room
        )
        trace.decided(decision, chosen.label)
        limit_s = chosen.policy.limits.deadline
        deadline_s = min(limit_s, request.hints.deadline_s or limit_s)
        return Dispatch(
            request=request,
            task=task,
            confidence=confidence,
            policy=chosen.policy,
            policy_label=chosen.label,
            canary=chosen.canary,
            instead=chosen.instead,
            decision=decision,
            work=work,
            home=home,
            decision_s=self._timer() - started,
            started_s=started,
            deadline_s=deadline_s,
            until_s=arrived_s + deadline_s,
            transcript=self._transcript(request),
            trace=trace,
        )

    def _transcript(self, request: RoutedRequest) -> Transcript | None:
        """What a replay would need of the answer, or a replica that has to go on with the stream."""
        wanted = self._replayer.transcript() if self._replayer else None
        return Transcript() if wanted is None and request.stream else wanted

    async def _frames(self, dispatch: Dispatch) -> AsyncGenerator[Frame, None]:
        """Frames of the request, from whichever pool answered; records the outcome when it ends."""
        result: Result = "failed"
        error: str | None = None
        deadline = Deadline(dispatch.until_s)
        try:
            await self._enter(dispatch)
            async with aclosing(self._failover.frames(dispatch)) as frames:
                while (frame := await deadline.read(frames)) is not None:
                    self._note(dispatch, frame)
                    yield frame
            result = dispatch.answered
        except (GeneratorExit, asyncio.CancelledError):
            # A client that has everything may leave before we notice that we are done.
            if dispatch.ending is not None:
                result = dispatch.answered
            else:
                result, error = "cancelled", "the client went away"
            raise
        except Exception as failure:  # noqa: BLE001 - the client is told, and so is the outcome
            # Once the ending is there the client has everything, whatever becomes of the engine or the time.
            if dispatch.ending is None:
                told = dispatch.told(failure)
                error = str(failure) or str(told)
                dispatch.status = dispatch.status or told.http_status
                if isinstance(failure, TooManyRequestsError):
                    result = "refused"
                raise told from (None if told is failure else failure)
            result = dispatch.answered
        finally:
            deadline.cancel()
            if dispatch.slot is not None:
                self._admission.leave(dispatch.slot)
            self._finish(dispatch, result, error)

    async def _enter(self, dispatch: Dispatch) -> None:
        """Wait for a slot."""
        dispatch.slot = slot = await self._admission.enter(
            dispatch.request.tenant, dispatch.policy.limits, dispatch.until_s
        )
        dispatch.trace.admitted(waited=slot.waited)
        if slot.waited:  # what was decided when it came is out of date
            dispatch.decision, dispatch.work, dispatch.home = self._decider.decide(
                dispatch.request, dispatch.task, dispatch.policy, canary=dispatch.canary
            )
            dispatch.trace.decided(dispatch.decision, dispatch.policy_label)

    def _note(self, dispatch: Dispatch, frame: Frame) -> None:
        if dispatch.note(frame) and dispatch.request.stream:  # a whole answer says nothing of its first token
            dispatch.ttft_s = self._timer() - dispatch.started_s

    async def _body(
        self, dispatch: Dispatch, first: Frame, frames: AsyncGenerator[Frame, None]
    ) -> AsyncGenerator[bytes, None]:
        streaming = first.content_type.startswith("text/event-stream")
        async with aclosing(frames):
            yield sent_bytes(dispatch, first)
            try:
                async for frame in frames:
                    if data := sent_bytes(dispatch, frame):
                        yield data
            except ApiError as error:
                if not streaming:
                    raise
                yield error.event()

    def _finish(self, dispatch: Dispatch, result: Result, error: str | None) -> None:
        now_s = self._clock()
        dispatch.trace.finishing(result)
        if result == "completed" and dispatch.ending is not None:
            decision, ending, origin = dispatch.decision, dispatch.ending, dispatch.origin
            self._learning.record(decision.profile, origin, decision.k, ending, now_s)
            if self._replayer is not None and dispatch.transcript is not None:
                self._replayer.submit(dispatch.transcript, ending, origin)
        total_s = self._timer() - dispatch.started_s
        outcome = dispatch.outcome(result, status=dispatch.status, error=error, at_s=now_s, total_s=total_s)
        for hook in self._hooks:
            try:
                hook(outcome)
            except Exception:  # noqa: BLE001 - one hook's failure must not cost the request or the other hooks
                _log.exception("an outcome hook failed")
        dispatch.trace.end(outcome)

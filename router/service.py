"""The walk of one request: classify, decide, dispatch, record.

Nothing here waits for the store, and every dispatch ends in exactly one outcome, cancellation included.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus

from policies.decide import Decision, Reason, Work
from policies.inflight import part_of
from policies.resolve import EffectivePolicy
from replicas.frames import Call, Ending, Frame, ReplicaBusyError, ReplicaError
from router.deciding import Decider
from router.details import details, headers, spliced
from router.errors import ApiError, DeadlineError, TooManyRequestsError, UnavailableError
from router.expectations import predicted_decode_s
from router.learning import Learning
from router.outcomes import Outcome, OutcomeHook, Result
from router.policy_source import PolicySource
from router.pools import Pools
from router.replaying import Replayer, Transcript
from router.requests import RoutedRequest
from router.tasks import TaskClassifier, request_text

_log = logging.getLogger(__name__)

_RETRY_AFTER_S = 1


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that has begun: everything but the rest of its body is known."""

    status: int
    content_type: str
    headers: Mapping[str, str]
    body: AsyncGenerator[bytes, None]


@dataclass(slots=True)
class _Dispatch:
    """One request on its way, and what is known of it so far."""

    request: RoutedRequest
    task: str
    confidence: float
    policy: EffectivePolicy
    policy_label: str
    decision: Decision
    work: Work
    home: str
    decision_s: float
    started_s: float
    transcript: Transcript | None = None
    status: int = 0
    ttft_s: float | None = None
    failovers: int = 0
    ending: Ending | None = None


class RoutingService:
    """Routes requests to pools and learns from how they went."""

    def __init__(
        self,
        *,
        policies: PolicySource,
        pools: Pools,
        classifier: TaskClassifier,
        learning: Learning,
        decider: Decider,
        replayer: Replayer | None = None,
        hooks: Iterable[OutcomeHook] = (),
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._policies = policies
        self._pools = pools
        self._classifier = classifier
        self._learning = learning
        self._decider = decider
        self._replayer = replayer
        self._hooks = tuple(hooks)
        self._clock = clock
        self._timer = timer
        self._in_flight: dict[str, int] = {}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task a request may name now."""
        return self._policies.tasks

    async def respond(self, request: RoutedRequest) -> Response:
        """Answer a request. Returns when the first part of the answer is there.

        The caller must exhaust or close the response's body. Raises ApiError.
        """
        dispatch = self._begin(request)
        self._take_slot(dispatch)
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
        )

    def _begin(self, request: RoutedRequest) -> _Dispatch:
        started = self._timer()
        if request.hints.task is not None:
            task, confidence = request.hints.task, 1.0
        else:
            found = self._classifier.classify(request_text(request.fields))
            task, confidence = found.task, found.confidence
        policy = self._policies.resolve(tenant=request.tenant, task=task)
        decision, work, home = self._decider.decide(request, task, policy)
        return _Dispatch(
            request=request,
            task=task,
            confidence=confidence,
            policy=policy,
            policy_label=self._policies.label,
            decision=decision,
            work=work,
            home=home,
            decision_s=self._timer() - started,
            started_s=started,
            transcript=self._replayer.transcript() if self._replayer else None,
        )

    def _take_slot(self, dispatch: _Dispatch) -> None:
        tenant, limit = dispatch.request.tenant, dispatch.policy.limits.max_concurrency
        running = self._in_flight.get(tenant, 0)
        if running >= limit:
            self._finish(dispatch, "refused", status=TooManyRequestsError.status, error="max_concurrency")
            raise TooManyRequestsError(
                f"tenant {tenant!r} has {running} requests in flight, limits.max_concurrency is {limit}: "
                "retry later",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._in_flight[tenant] = running + 1

    def _release_slot(self, tenant: str) -> None:
        left = self._in_flight.get(tenant, 0) - 1
        if left > 0:
            self._in_flight[tenant] = left
        else:
            self._in_flight.pop(tenant, None)

    async def _frames(self, dispatch: _Dispatch) -> AsyncGenerator[Frame, None]:
        """Frames of the request, from whichever pool answered; records the outcome when it ends."""
        result: Result = "failed"
        error: str | None = None
        deadline = asyncio.get_running_loop().time() + dispatch.policy.limits.deadline
        try:
            async with aclosing(self._with_failover(dispatch)) as frames:
                while True:
                    # One timer per frame: the task that reads the first frame need not read the others.
                    async with asyncio.timeout_at(deadline):
                        frame = await anext(frames, None)
                    if frame is None:
                        break
                    self._note(dispatch, frame)
                    yield frame
            result = _answered(dispatch)
        except (GeneratorExit, asyncio.CancelledError):
            # A client that has everything may leave before we notice that we are done.
            if dispatch.ending is not None:
                result = _answered(dispatch)
            else:
                result, error = "cancelled", "the client went away"
            raise
        except Exception as failure:  # noqa: BLE001 - the client is told, and so is the outcome
            # Once the ending is there the client has everything, whatever becomes of the engine or the time.
            if dispatch.ending is None:
                told = _told(failure, dispatch)
                error = str(failure) or str(told)
                dispatch.status = dispatch.status or told.http_status
                raise told from (None if told is failure else failure)
            result = _answered(dispatch)
        finally:
            self._release_slot(dispatch.request.tenant)
            self._finish(dispatch, result, status=dispatch.status, error=error)

    def _note(self, dispatch: _Dispatch, frame: Frame) -> None:
        if not dispatch.status:
            dispatch.status = frame.status
            if dispatch.request.stream:  # a whole answer says nothing of its first token
                dispatch.ttft_s = self._timer() - dispatch.started_s
        if dispatch.transcript is not None:
            dispatch.transcript.note(frame)
        if frame.ending is not None:
            dispatch.ending = frame.ending

    async def _with_failover(self, dispatch: _Dispatch) -> AsyncGenerator[Frame, None]:
        """Frames of the chosen pool; of another one if that fails before its first frame."""
        for attempt in (0, 1):
            begun = ended = False
            call = Call(
                request_id=dispatch.request.request_id,
                path=dispatch.request.path,
                body=dispatch.request.body,
                k=dispatch.decision.k,
                details=dispatch.request.hints.details,
                prompt_tokens=dispatch.transcript is not None,
            )
            try:
                part = part_of(dispatch.decision.score, dispatch.work)
                serving = self._pools.serve(dispatch.decision.profile, call, part, dispatch.home)
                async with aclosing(serving) as frames:
                    async for frame in frames:
                        begun, ended = True, frame.ending is not None
                        yield frame
                if not ended:
                    raise ReplicaError("the engine's answer just ended")  # noqa: TRY301 - handled alike
            except ReplicaError as error:
                if begun or attempt or isinstance(error, ReplicaBusyError):
                    raise
                dispatch.failovers += 1
                dispatch.decision, dispatch.home = self._elsewhere(dispatch)
            else:
                return

    def _elsewhere(self, dispatch: _Dispatch) -> tuple[Decision, str]:
        """The failed pool counts as away now, so deciding again leads to another one."""
        again, _, home = self._decider.decide(dispatch.request, dispatch.task, dispatch.policy)
        return replace(again, reason=Reason.FAILOVER), home

    async def _body(
        self, dispatch: _Dispatch, first: Frame, frames: AsyncGenerator[Frame, None]
    ) -> AsyncGenerator[bytes, None]:
        streaming = first.content_type.startswith("text/event-stream")
        async with aclosing(frames):
            yield self._bytes(dispatch, first)
            try:
                async for frame in frames:
                    if data := self._bytes(dispatch, frame):
                        yield data
            except ApiError as error:
                if not streaming:
                    raise
                yield error.event()

    def _bytes(self, dispatch: _Dispatch, frame: Frame) -> bytes:
        if frame.splice_at is None or frame.ending is None or dispatch.status >= HTTPStatus.BAD_REQUEST:
            return frame.data
        return spliced(
            frame,
            details(
                dispatch.decision,
                frame.ending,
                task=dispatch.task,
                confidence=dispatch.confidence,
                tenant=dispatch.request.tenant,
                policy=dispatch.policy_label,
                failovers=dispatch.failovers,
                predicted_s=predicted_decode_s(
                    dispatch.decision.score, dispatch.work, frame.ending.completion_tokens
                ),
            ),
        )

    def _finish(self, dispatch: _Dispatch, result: Result, *, status: int, error: str | None) -> None:
        now_s = self._clock()
        if result == "completed" and dispatch.ending is not None:
            self._learning.record(
                profile=dispatch.decision.profile,
                task=dispatch.task,
                temperature=dispatch.request.temperature,
                tenant=dispatch.request.tenant,
                k=dispatch.decision.k,
                ending=dispatch.ending,
                half_life_s=dispatch.policy.acceptance.half_life,
                now_s=now_s,
            )
            if self._replayer is not None and dispatch.transcript is not None:
                self._replayer.submit(
                    dispatch.transcript,
                    dispatch.ending,
                    task=dispatch.task,
                    temperature=dispatch.request.temperature,
                    tenant=dispatch.request.tenant,
                    half_life_s=dispatch.policy.acceptance.half_life,
                )
        outcome = Outcome(
            request=dispatch.request,
            task=dispatch.task,
            confidence=dispatch.confidence,
            decision=dispatch.decision,
            policy=dispatch.policy_label,
            result=result,
            status=status,
            at_s=now_s,
            decision_s=dispatch.decision_s,
            work=dispatch.work,
            ttft_s=dispatch.ttft_s,
            total_s=self._timer() - dispatch.started_s,
            failovers=dispatch.failovers,
            ending=dispatch.ending,
            error=error,
        )
        for hook in self._hooks:
            try:
                hook(outcome)
            except Exception:  # noqa: BLE001 - one hook's failure must not cost the request or the other hooks
                _log.exception("an outcome hook failed")


def _told(failure: Exception, dispatch: _Dispatch) -> ApiError:
    """What the client gets to see of a failure."""
    match failure:
        case ApiError():
            return failure
        case TimeoutError():
            limit_s = dispatch.policy.limits.deadline
            return DeadlineError(f"no complete answer within the policy's limits.deadline of {limit_s:g} s")
        case ReplicaBusyError():
            return TooManyRequestsError(
                "every slot and the queue are full: retry", retry_after_s=_RETRY_AFTER_S
            )
        case ReplicaError():
            return UnavailableError(
                "the engine failed before the answer was complete: retry", retry_after_s=_RETRY_AFTER_S
            )
    _log.error("request %s failed", dispatch.request.request_id, exc_info=failure)
    return ApiError("internal error; the service's log has the request id")


def _answered(dispatch: _Dispatch) -> Result:
    return "completed" if dispatch.status < HTTPStatus.BAD_REQUEST else "refused"

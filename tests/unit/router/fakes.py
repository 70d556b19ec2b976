"""What the tests of the router share: pools in this process, frames, and a service put together from them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from policies.learner import Drafter
from replicas.frames import Call, Ending, Frame, ReplicaError
from replicas.profiles import Profile
from router.admission import Admission
from router.canary import Canary
from router.canary_watch import CanaryWatch
from router.deciding import Decider
from router.errors import ApiError
from router.expectations import Expectations
from router.learning import Learning
from router.outcomes import Outcome, OutcomeHook
from router.policy_source import PolicySource
from router.pools import Pools
from router.preferences import TenantPreferences
from router.replaying import ReplayTotals
from router.requests import RoutedRequest, read_request
from router.service import RoutingService
from router.stats import StatsBuffer
from router.tasks import RuleClassifier
from router.telemetry_state import StateSources
from router.tenancy import Tenancy
from router.tracing import Tracer

T0 = 1_700_000_000.0
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Write a Python function that merges two lists."}]

VANILLA = Profile(name="vanilla")
NGRAM = Profile(name="ngram", method="ngram", k=8)

Step = Frame | Exception | asyncio.Event
Script = Sequence[Step]


def policy_text(name: str = "test", **spec: Any) -> str:
    """A policy that leaves nothing to chance, with `spec` over it."""
    settings: dict[str, Any] = {
        "mode": "always_speculative",
        "exploration": {"share": 0.0, "max_share": 0.0},
        **spec,
    }
    document = {
        "apiVersion": "specroute/v1",
        "kind": "RoutingPolicy",
        "metadata": {"name": name},
        "spec": settings,
    }
    return json.dumps(document)  # JSON is YAML


def ending(drafted: Sequence[int] = (4, 4, 2), accepted: Sequence[int] = (3, 0, 2), **changes: Any) -> Ending:
    """The account of a request with these steps."""
    values: dict[str, Any] = {
        "finish_reason": "stop",
        "prompt_tokens": 5,
        "cached_tokens": 0,
        "completion_tokens": 1 + len(accepted) + sum(accepted),
        "per_step_drafted": tuple(drafted),
        "per_step_accepted": tuple(accepted),
        "counted": True,
        "queued_s": 0.0,
        "ttft_s": 0.01,
        "decode_s": 0.4,
    }
    return Ending(**(values | changes))


def whole(data: bytes = b'{"id":"x"}', status: int = 200, **changes: Any) -> Frame:
    """An answer in one piece."""
    return Frame(data, (), status, "application/json", None, ending(), None)._replace(**changes)


def opening(data: bytes = b"data: one\n\n") -> Frame:
    """The first frame of a stream."""
    return Frame(data, (1,), 200, "text/event-stream; charset=utf-8")


def more(data: bytes = b"data: two\n\n") -> Frame:
    """A frame from the middle of a stream."""
    return Frame(data, (2,))


def last(data: bytes = b"data: [DONE]\n\n", **changes: Any) -> Frame:
    """The last frame of a stream."""
    return Frame(data, (3,), ending=ending())._replace(**changes)


class FakePool:
    """A pool that plays scripts, one a call, the last one for ever: frames, errors, events to wait for."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts) or [[whole()]]
        self.calls: list[Call] = []
        self.homes: list[str] = []
        self.avoided: list[frozenset[str]] = []
        self.open = 0
        self.status_error: Exception | None = None
        self.waiting = asyncio.Event()

    async def serve(
        self, call: Call, home: str = "", avoid: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Frame, None]:
        """Play the next script."""
        self.calls.append(call)
        self.homes.append(home)
        self.avoided.append(avoid)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        self.open += 1
        try:
            for step in script:
                if isinstance(step, Frame):
                    yield step
                elif isinstance(step, Exception):
                    raise step
                else:
                    self.waiting.set()
                    await step.wait()
        finally:
            self.open -= 1

    async def status(self, home: str = "", avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The status, or the error that was asked for."""
        if self.status_error is not None:
            raise self.status_error
        return {"running": self.open}


def gone() -> ReplicaError:
    """The failure of an engine."""
    return ReplicaError("the engine core has ended")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now_s: float = T0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Harness:
    """A service over fake pools, with everything it told its hooks."""

    def __init__(
        self,
        folder: Path,
        *,
        vanilla: FakePool | None = None,
        ngram: FakePool | None = None,
        hooks: Sequence[OutcomeHook] = (),
        profiles: tuple[Profile, Profile] = (VANILLA, NGRAM),
        tracer: Tracer | None = None,
        **spec: Any,
    ) -> None:
        self.policy_file = folder / "policy.yaml"
        self.policy_file.write_text(policy_text(**spec))
        self.vanilla, self.ngram = vanilla or FakePool(), ngram or FakePool()
        self.clock = Clock()
        self.outcomes: list[Outcome] = []
        self.buffer = StatsBuffer()
        plain, drafting = profiles
        self.pools = Pools([(plain, self.vanilla), (drafting, self.ngram)], clock=self.clock)
        self.preferences = TenantPreferences(most=10)
        self.policies = PolicySource(self.policy_file, clock=self.clock, preferences=self.preferences.get)
        self.learning = Learning(self.buffer, {"vanilla": Drafter("none", 0), "ngram": Drafter("ngram", 8)})
        self.expectations = Expectations()
        self.decider = Decider(
            pools=self.pools,
            learning=self.learning,
            expectations=self.expectations,
            clock=self.clock,
            rng=Random(1),
        )
        self.timer = Clock(0.0)
        self.canary = Canary(self.policies, clock=self.clock, drawn=map(str, count()).__next__)
        self.canary_watch = CanaryWatch(self.canary, self.policies, folder=folder, clock=self.clock)
        self.admission = Admission(self.pools, timer=self.timer)
        self.service = RoutingService(
            policies=self.canary,
            pools=self.pools,
            classifier=RuleClassifier(),
            learning=self.learning,
            decider=self.decider,
            admission=self.admission,
            hooks=(self.expectations.on_outcome, self.canary_watch.on_outcome, *hooks, self.outcomes.append),
            clock=self.clock,
            timer=self.timer,
            tracer=tracer,
        )

    async def ready(self) -> "Harness":
        """After one poll."""
        await self.pools.poll()
        return self

    async def answer(self, given: RoutedRequest | None = None) -> bytes:
        """The whole body of the answer. Raises ApiError."""
        response = await self.service.respond(given or request())
        return b"".join([part async for part in response.body])

    async def answer_fails(self, given: RoutedRequest) -> ApiError:
        """The error with which the request ends before its answer begins."""
        try:
            await self.answer(given)
        except ApiError as error:
            return error
        raise AssertionError("it was answered")

    @property
    def idle(self) -> bool:
        """Whether nothing is held: no call open at a pool, none counted in flight, no slot taken."""
        return (
            not self.vanilla.open
            and not self.ngram.open
            and all(state.in_flight == 0 for state in self.pools)
            and not self.admission.running
            and not self.admission.waiting
        )

    @property
    def learned_requests(self) -> int:
        """Requests that count in the tasks' totals."""
        return sum(record.lifetime["requests"] for key, record in self.buffer.items() if key.tenant is None)


def state_of(harness: Harness) -> StateSources:
    """What the metrics read of a service."""
    return StateSources(
        snapshot=harness.buffer,
        policies=harness.policies,
        predictions=harness.expectations.predictions,
        forecaster=harness.decider.forecaster,
        replays=ReplayTotals(),
        clock=harness.clock,
    )


def request(headers: Mapping[str, str] | None = None, *, path: str = CHAT, **fields: Any) -> RoutedRequest:
    """A request as the service gets it; `headers` in lower case."""
    body = json.dumps({"messages": MESSAGES, **fields}).encode()
    tenant = Tenancy(trusted_header=True).tenant(headers or {})
    return read_request(path, headers or {}, body, tenant=tenant)


async def settled(condition: Callable[[], bool], turns: int = 100) -> bool:
    """Whether `condition` holds within some turns of the event loop."""
    for _ in range(turns):
        if condition():
            return True
        await asyncio.sleep(0)
    return condition()

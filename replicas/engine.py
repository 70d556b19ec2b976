"""The vLLM adapter: one AsyncLLM and vLLM's own OpenAI server app, in this process, without a socket.

A call is played through the app as an ASGI request, so that every field, error and event is vLLM's own. What
specroute adds happens underneath it, in `generate`: the request's k goes in, tokens and step counts come out.
Tested against vLLM 0.32.0; tests/engine/test_adapter.py is the contract with its internals.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import copy_context
from multiprocessing import active_children
from types import SimpleNamespace
from typing import Any

import ray
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import FrontendArgs
from vllm.v1.metrics.loggers import PrometheusStatLogger
from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

from policies.cost import StepRecorder
from replicas.asgi import AppError, AsgiExchange, Part
from replicas.frames import Call, Frame, Load, ReplicaError
from replicas.observation import Observation
from replicas.observed_llm import ObservedLLM, current_observation
from replicas.passes import PassLogger
from replicas.profiles import ModelSpec, Profile, engine_arguments, server_arguments
from replicas.rehearsal import warm_up
from replicas.resuming import event_head, retitled
from replicas.scheduler import scheduler_class
from replicas.splice import Splicer, with_usage_chunk

_SHUTDOWN_S = 15.0
"""vLLM kills a core after 5 s, but its worker alone takes 4 to end in order and give memory back."""


class VllmEngine:
    """One vLLM engine behind the `Engine` protocol."""

    def __init__(
        self,
        llm: ObservedLLM,
        app: Any,
        profile: Profile,
        steps: StepRecorder,
        passes: PassLogger,
        *,
        continuable: bool = True,
    ) -> None:
        self._llm = llm
        self._app = app
        self._profile = profile
        self._passes = passes
        self._continuable = continuable
        # An engine that does not trace would log that it was asked to.
        self._traces = llm.observability_config.otlp_traces_endpoint is not None
        self._running = 0
        self.steps = steps
        """See `Engine.steps`."""

    @classmethod
    async def start(
        cls,
        profile: Profile,
        model: ModelSpec,
        *,
        folder: str,
        on_cpu: bool,
        progress: Callable[[str], None] = lambda _: None,
    ) -> VllmEngine:
        """Start the engine processes and load the model (a minute on two cores).

        Raises whatever vLLM raises for settings or models that cannot work.
        """
        progress("reading the model's configuration")
        arguments = AsyncEngineArgs(**engine_arguments(profile, model, folder=folder, on_cpu=on_cpu))
        config = arguments.create_engine_config()
        config.scheduler_config.scheduler_cls = scheduler_class(
            async_scheduling=bool(config.scheduler_config.async_scheduling)
        )
        progress("loading the model")
        steps = StepRecorder(profile.step_cost.seed())
        passes = PassLogger(steps.record)
        llm = ObservedLLM.from_vllm_config(config, stat_loggers=[lambda *_: passes, *_loggers()])
        try:
            progress("preparing the OpenAI server")
            frontend = Namespace(**(vars(FrontendArgs(**server_arguments(model))) | vars(arguments)))
            tasks = await llm.get_supported_tasks()
            app = build_app(frontend, tasks, llm.model_config)
            await init_app_state(llm, app.state, frontend, tasks)
        except BaseException:
            llm.shutdown()
            raise
        # vLLM's error handler would stop its web server.
        app.state.server = SimpleNamespace(should_exit=False)
        # A reasoning parser would see what was sent so far as one piece, which not all of them read alike.
        continuable = not server_arguments(model).get("reasoning_parser")
        return cls(llm, app, profile, steps, passes, continuable=continuable)

    async def serve(self, call: Call) -> AsyncGenerator[Frame, None]:
        """Answer one call; see `Engine.serve`."""
        await self.check_health()
        context = copy_context()  # a generator runs in its reader's context, which is not ours to change
        body = with_usage_chunk(call.body) if call.details else call.body
        exchange = AsgiExchange(
            self._app,
            path=call.path,
            body=body,
            request_id=call.request_id,
            headers=call.trace if self._traces else (),
            context=context,
        )
        observation = Observation(
            k=call.k,
            speculative=self._profile.speculative,
            prompt_tokens=call.prompt_tokens,
            flow=exchange,
            resume=call.resume,
            cache_salt=call.cache_salt,
        )
        context.run(current_observation.set, observation)
        splicer = Splicer() if call.details else None
        self._running += 1
        try:
            async with aclosing(exchange.parts()) as parts:
                async for part in parts:
                    if observation.failure is not None:
                        raise ReplicaError(observation.failure)
                    data, splice_at = part.data, None
                    if call.resume is not None:
                        data = retitled(data, event_head(observation.discarded), call.resume.head)
                    # While parts end where an output does, the last event comes with the last part anyway.
                    if splicer and (part.last or not exchange.holding):
                        data, splice_at = splicer.feed(part._replace(data=data), exchange.content_type)
                    if data or part.first or part.last:
                        yield Frame(
                            data=data,
                            token_ids=observation.take_tokens(last=part.last),
                            status=exchange.status if part.first else 0,
                            content_type=exchange.content_type if part.first else "",
                            splice_at=splice_at,
                            ending=observation.ending() if part.last else None,
                            load=self.load() if part.last else None,
                            prompt_token_ids=observation.take_prompt(),
                            head=self._head(part, observation),
                        )
        except AppError as error:
            raise ReplicaError("the engine was shut down during the request") from error
        finally:
            try:
                await exchange.close()
            finally:
                self._running -= 1

    def _head(self, part: Part, observation: Observation) -> bytes:
        """See `Frame.head`."""
        if not part.first or part.last or not self._continuable or not observation.continuable:
            return b""
        return event_head(part.data)

    async def warm_up(self) -> None:
        """Answer some small requests: see `replicas.rehearsal`.

        Raises ReplicaError when that does not work.
        """
        await warm_up(self, self._profile)

    def load(self) -> Load:
        """Requests in flight here, and most decoded at once."""
        return Load(running=self._running, capacity=self._profile.max_num_seqs, waiting=self._passes.waiting)

    async def check_health(self) -> None:
        """Raise ReplicaError once the engine core is gone."""
        if self._llm.errored:
            raise ReplicaError("the engine core has ended")

    def shutdown(self) -> None:
        """End the engine core and its workers, and wait for them: up to a quarter of a minute."""
        self._llm.shutdown(timeout=_SHUTDOWN_S)
        active_children()  # takes note of the ended ones, which would stay as zombies otherwise


def _loggers() -> list[type]:
    """What keeps vLLM's own metrics: for its app's `/metrics`, and in a Ray for Ray's endpoint as well.

    In this order: each takes vLLM's metrics out of Prometheus' registry before it makes its own, and Ray's
    are not in there.
    """
    return [*([RayPrometheusStatLogger] if ray.is_initialized() else []), PrometheusStatLogger]

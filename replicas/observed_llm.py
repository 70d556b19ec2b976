"""vLLM's asynchronous engine, with a view on every request: k goes in, tokens and step counts come out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, Final

from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.output_processor import RequestOutputCollector

from replicas.frames import unpacked
from replicas.isolation import salted
from replicas.observation import Observation
from replicas.resuming import as_generated, is_continuable, remaining
from replicas.scheduler import K_KEY

_NOT_FOR_CLIENTS: Final = {"priority": 0, "data_parallel_rank": None}
"""Options of `generate` that vLLM's app takes from requests: who goes first, and where, is ours to say."""

current_observation: ContextVar[Observation | None] = ContextVar("observation", default=None)
"""Of the HTTP request that a task of vLLM's app answers."""


class ObservedLLM(AsyncLLM):  # type: ignore[misc]
    """AsyncLLM whose requests carry their k, and are watched by the `Observation` of the current context."""

    async def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **options: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """As AsyncLLM does, for the observation of the context."""
        observation = current_observation.get()
        if observation is None:
            async with aclosing(super().generate(prompt, sampling_params, request_id, **options)) as outputs:
                async for output in outputs:
                    yield output
            return
        prompt, options = salted(prompt, observation.cache_salt), options | _NOT_FOR_CLIENTS
        sampling_params.extra_args = {K_KEY: observation.k}  # a client's own are dropped
        sequence = observation.begin(choices=sampling_params.n)
        observation.continuable = is_continuable(sampling_params)
        if observation.resume is not None and not observation.continuable:
            raise observation.failed("this request cannot be continued")
        try:
            async with aclosing(super().generate(prompt, sampling_params, request_id, **options)) as outputs:
                async for output in outputs:
                    if (shown := observation.take_shown()) is not None:
                        yield shown
                        observation.discard()
                    observation.observe(sequence, output)
                    _expect_no_abort(output)
                    for completion in output.outputs:
                        completion.spec_decode_metrics = None  # it would show up in the client's answer
                    yield output
                    if not output.finished:
                        observation.sent()
        except EngineDeadError:
            observation.failed("the engine core ended during the request")
            raise

    async def _add_request(
        self,
        request: EngineCoreRequest,
        prompt: str | None,
        parent_req: Any,
        index: int,
        queue: RequestOutputCollector,
    ) -> None:
        """As AsyncLLM does; where the observation's stream began elsewhere, what is left of it."""
        observation = current_observation.get()
        if observation is None or observation.resume is None:
            await super()._add_request(request, prompt, parent_req, index, queue)
            return
        done = observation.made_elsewhere
        if request.mm_features or request.prompt_token_ids is None:
            raise observation.failed("only a prompt of text can be continued")
        request.prompt_token_ids = unpacked(observation.resume.prompt_token_ids)
        try:
            rest = remaining(request, done)
        except ValueError as error:
            raise observation.failed(str(error)) from error
        self.check_admission(request_id=request.request_id)
        processor = self.output_processor
        processor.add_request(request, prompt, parent_req, index, queue)
        processor.process_outputs([as_generated(request, done)])
        observation.shown = queue.get_nowait()
        # Its next output is the one that ends the reading of the prompt.
        processor.request_states[request.request_id].is_prefilling = True
        await self.engine_core.add_request_async(rest)


def _expect_no_abort(output: RequestOutput) -> None:
    """Raise EngineDeadError for what a core sends when it is shut down; nobody here asked for an abort."""
    if any(completion.finish_reason == "abort" for completion in output.outputs):
        raise EngineDeadError

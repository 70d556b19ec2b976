"""A CPU worker bound to its cores, on which no request's sampling parameters can end the engine."""

from __future__ import annotations

import os
from typing import Any

import torch
from vllm.v1.sample import rejection_sampler
from vllm.v1.worker.cpu_model_runner import CPUModelRunner
from vllm.v1.worker.cpu_worker import CPUWorker

from replicas.hardware import bound_cores
from replicas.orphans import end_with_parent


def expand_batch_to_tokens(
    x: torch.Tensor, cu_num_tokens: torch.Tensor, num_tokens: int, replace_from: int = 0, replace_to: int = 0
) -> torch.Tensor:
    """`x` [batch] with entry i repeated once per token of request i: [num_tokens].

    `cu_num_tokens` [batch] are running totals; entries equal to `replace_from` become `replace_to`. It stands
    in for vLLM's function of this name, whose CPU kernel writes into a copy unless `x` is int64: temperature,
    top-k and top-p of drafted positions were whatever lay in memory, which biased sampled answers and could
    end the engine.
    """
    counts = torch.diff(cu_num_tokens.long(), prepend=cu_num_tokens.new_zeros(1).long())
    replaced = x.masked_fill(x == replace_from, replace_to)
    return replaced.repeat_interleave(counts, output_size=num_tokens)


class SafeModelRunner(CPUModelRunner):  # type: ignore[misc]
    """vLLM's CPU model runner, without two ways in which a request could end it.

    When a prompt is computed in chunks, vLLM discards the token sampled after each chunk and rewinds the
    request's generator by its offset. CPU generators have none and raise, which ends the engine core. So
    their state is kept over the sampling of a token that will be discarded.

    A speculative engine samples every step with the rejection sampler, which on CPUs raises for `top_k` when
    the step has no drafts at all, and ends the engine core too. Such a step is sampled plainly, as on an
    engine that never drafts.
    """

    def _sample(self, logits: Any, spec_decode_metadata: Any) -> Any:
        if spec_decode_metadata is not None and not any(spec_decode_metadata.num_draft_tokens):
            spec_decode_metadata = None
        before = [(generator, generator.get_state()) for generator in self._discarded_generators().values()]
        try:
            return super()._sample(logits, spec_decode_metadata)
        finally:
            for generator, state in before:
                generator.set_state(state)

    def _bookkeeping_sync(self, *args: Any, **kwargs: Any) -> Any:
        hidden = self._discarded_generators()  # from the rewinding that would raise
        for row in hidden:
            del self.input_batch.generators[row]
        try:
            return super()._bookkeeping_sync(*args, **kwargs)
        finally:
            self.input_batch.generators.update(hidden)

    def _discarded_generators(self) -> dict[int, torch.Generator]:
        """The generators, by row of the batch, of seeded requests whose sampled token will be discarded."""
        discarded = self.discard_request_mask.np[: self.input_batch.num_reqs]
        return {row: generator for row, generator in self.input_batch.generators.items() if discarded[row]}


class BoundCpuWorker(CPUWorker):  # type: ignore[misc]
    """vLLM's CPU worker with the model runner above, inside the engine core's process.

    vLLM runs CPU workers in a process of their own, because that is where it binds OpenMP's threads. The two
    then wait for each other busily, on cores that engines share: in one process an engine starts in three
    quarters of the time and takes 0.7 GB less. The binding is done here instead.
    """

    def init_device(self) -> None:
        """As CPUWorker does; the first thing that is called in the worker's process."""
        end_with_parent()
        cores = bound_cores()
        if cores:
            # Threads started from here on inherit it; OMP_NUM_THREADS says how many OpenMP starts.
            os.sched_setaffinity(0, cores)
        rejection_sampler.expand_batch_to_tokens = expand_batch_to_tokens
        super().init_device()
        # The runner's own __init__ has set everything up; only the methods above are to differ.
        if type(self.model_runner) is CPUModelRunner:
            self.model_runner.__class__ = SafeModelRunner

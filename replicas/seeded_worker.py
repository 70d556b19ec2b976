"""A CPU worker on which a request's seed cannot end the engine."""

from __future__ import annotations

from typing import Any

import torch
from vllm.v1.worker.cpu_model_runner import CPUModelRunner
from vllm.v1.worker.cpu_worker import CPUWorker

from replicas.orphans import end_with_parent


class SeedSafeModelRunner(CPUModelRunner):  # type: ignore[misc]
    """vLLM's CPU model runner, with rewinding of seeded generators that works on the CPU.

    When a prompt is prefilled in chunks, vLLM discards the token sampled after each chunk and rewinds the
    request's generator by its offset. CPU generators have none and raise, which ends the engine core. Before
    its first token a request's generator belongs at its seed, so it is put back there instead.
    """

    def _bookkeeping_sync(self, *args: Any, **kwargs: Any) -> Any:
        generators: dict[int, torch.Generator] = self.input_batch.generators
        discarded = self.discard_request_mask.np[: self.input_batch.num_reqs]
        held = {row: generators.pop(row) for row in list(generators) if discarded[row]}
        try:
            return super()._bookkeeping_sync(*args, **kwargs)
        finally:
            for row, generator in held.items():
                generator.manual_seed(generator.initial_seed())
                generators[row] = generator


class SeedSafeWorker(CPUWorker):  # type: ignore[misc]
    """vLLM's CPU worker with the model runner above, tied to the engine core's life."""

    def init_device(self) -> None:
        """As CPUWorker does; the first thing that is called in the worker's process."""
        end_with_parent()
        super().init_device()
        # The runner's own __init__ has set everything up; only the method above is to differ.
        if type(self.model_runner) is CPUModelRunner:
            self.model_runner.__class__ = SeedSafeModelRunner

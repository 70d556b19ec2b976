"""Seeded generators of requests whose sampled token is discarded, on a stand-in of vLLM's runner."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vllm.v1.worker.cpu_model_runner import CPUModelRunner

from replicas.cpu_worker import SafeModelRunner, expand_batch_to_tokens

pytestmark = pytest.mark.unit


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Three rows, two of them seeded; every step draws from all generators and rewinds the discarded ones."""

    def sample(self: Any, logits: object, spec_decode_metadata: object) -> list[float]:
        self.sampled_with = spec_decode_metadata
        return [torch.rand(1, generator=each).item() for each in self.input_batch.generators.values()]

    def bookkeeping(self: Any) -> None:
        for row, generator in self.input_batch.generators.items():
            if self.discard_request_mask.np[row]:
                generator.set_offset(0)

    monkeypatch.setattr(CPUModelRunner, "_sample", sample)
    monkeypatch.setattr(CPUModelRunner, "_bookkeeping_sync", bookkeeping)
    runner = object.__new__(SafeModelRunner)
    generators = {row: torch.Generator().manual_seed(row) for row in (0, 2)}
    runner.input_batch = SimpleNamespace(num_reqs=3, generators=generators)
    runner.discard_request_mask = SimpleNamespace(np=np.zeros(8, dtype=bool))
    return runner


def step(runner: Any, *discarded: int) -> list[float]:
    runner.discard_request_mask.np[:] = [row in discarded for row in range(8)]
    drawn: list[float] = runner._sample(None, None)
    runner._bookkeeping_sync()
    return drawn


def test_a_discarded_draw_is_drawn_again(runner: Any) -> None:
    """Only that request's; also when it has drawn before, as a preempted request has that starts again."""
    first = step(runner)
    discarded = step(runner, 2)
    kept = step(runner)
    assert kept[1] == discarded[1] != first[1]
    assert kept[0] != discarded[0]


def test_no_generator_is_lost(runner: Any) -> None:
    """Each stays in its row, the same object."""
    before = dict(runner.input_batch.generators)
    step(runner, 0, 2)
    assert runner.input_batch.generators == before


def test_rows_beyond_the_batch_do_not_matter(runner: Any) -> None:
    """The mask is longer than the batch and keeps what it said of earlier ones."""
    step(runner, 1, 5)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float32])
def test_values_are_repeated_per_token(dtype: torch.dtype) -> None:
    """Whatever their type; a request without drafts has none; one value can be replaced on the way."""
    expanded = expand_batch_to_tokens(
        torch.tensor([3, 0, 5], dtype=dtype), torch.tensor([2, 2, 5], dtype=torch.int32), 5, 3, 1
    )
    assert expanded.tolist() == [1, 1, 5, 5, 5]
    assert expanded.dtype == dtype


def test_vllm_still_needs_it() -> None:
    """CPU generators still have no offset; once they have, this worker can go."""
    with pytest.raises(RuntimeError):
        torch.Generator().get_offset()


@pytest.mark.parametrize(("drafts", "verified"), [([0, 0, 0], False), ([0, 2, 0], True)])
def test_a_step_without_drafts_is_sampled_plainly(runner: Any, drafts: list[int], verified: bool) -> None:
    """The rejection sampler cannot do without any drafts; with some it has to be asked."""
    metadata = SimpleNamespace(num_draft_tokens=drafts)
    runner._sample(None, metadata)
    assert runner.sampled_with is (metadata if verified else None)

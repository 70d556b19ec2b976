"""What engines take, against logs of vLLM and against common sense."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.planning import (
    GPUS,
    KNOWN,
    Draft,
    Engine,
    Gpu,
    GpuError,
    Load,
    draft_of,
    engine_memory,
    gpu_named,
    placements,
    precision_of,
    shape_of,
)
from policies.planning.gpus import CPU

pytestmark = pytest.mark.unit

GIB = 2**30
LOAD = Load(4096, 16)


def engine(name: str, gpu: str = "h100-80gb", **settings: object) -> Engine:
    config = KNOWN[name]
    plain = Engine(
        target=shape_of(config),
        precision=precision_of(config),
        gpu=GPUS[gpu],
        draft=Draft("none"),
        draft_precision=precision_of(config),
    )
    return replace(plain, **settings)  # type: ignore[arg-type]


def with_drafter(target: str, drafter: str, **settings: object) -> Engine:
    one = engine(target, **settings)
    draft = draft_of("draft_model", one.target, KNOWN[drafter])
    return replace(one, draft=draft, draft_precision=precision_of(KNOWN[drafter]), k=4)


def test_llama_8b_on_an_h100_as_vllm_logged_it() -> None:
    """In vLLM's pull request 10511: 14.96 GiB of weights, 1.26 of activations, 53.29 left of 71.29 (0.9)."""
    memory = engine_memory(engine("llama-3.1-8b-instruct", utilization=0.9, max_num_seqs=256), LOAD)
    assert memory.weights / GIB == pytest.approx(14.96, rel=0.01)
    assert memory.kv / GIB == pytest.approx(53.29, rel=0.03)


def test_gpt_oss_on_an_a100_as_vllm_logged_it() -> None:
    """With vLLM 0.19 and 0.65 of an A100: 36.56 GiB of KV cache beside 13.72 of weights."""
    memory = engine_memory(engine("gpt-oss-20b", "a100-80gb", utilization=0.65, max_num_seqs=256), LOAD)
    assert memory.kv / GIB == pytest.approx(36.56, rel=0.03)


def test_what_fits_and_what_does_not() -> None:
    """8 B on 24 GB, 70 B on four of 80 and not on one; then the reason is that it does not start."""
    assert engine_memory(engine("llama-3.1-8b-instruct", "l4-24gb"), Load(4096, 4)).fits
    four = engine_memory(engine("llama-3.3-70b-instruct", gpus=4), LOAD)
    assert four.fits
    one = engine_memory(engine("llama-3.3-70b-instruct"), LOAD)
    assert (one.fits, one.starts, one.held, one.capacity) == (False, False, 0, 0)


def test_too_much_load_starts_and_does_not_fit() -> None:
    """So many requests of such a length are more than the KV cache holds; how many it holds is told."""
    memory = engine_memory(engine("llama-3.1-8b-instruct", "l4-24gb"), Load(8192, 16))
    assert (memory.starts, memory.fits) == (True, False)
    assert 0 < memory.held < 16
    assert memory.needed > memory.kv


def test_a_drafter_takes_weights_and_kv_cache() -> None:
    """Beside its target, on as many GPUs or on one."""
    plain = engine_memory(engine("llama-3.3-70b-instruct", gpus=4), LOAD)
    pair = with_drafter("llama-3.3-70b-instruct", "llama-3.1-8b-instruct", gpus=4)
    shared, alone = (engine_memory(replace(pair, draft_gpus=gpus), LOAD) for gpus in (4, 1))
    assert shared.draft_weights / GIB == pytest.approx(14.96 / 4, rel=0.01)
    assert alone.draft_weights == 4 * shared.draft_weights
    assert plain.capacity > shared.capacity > alone.capacity
    assert shared.kv_token == plain.kv_token + 131_072 / 4


def test_the_cpu_has_a_kv_cache_of_a_fixed_size() -> None:
    """The embedded model: 46,080 bytes a token in float32; 1 GiB holds 182 blocks of 128 tokens."""
    config = KNOWN["smollm2-135m-instruct"]
    cpu = engine(
        "smollm2-135m-instruct",
        precision=precision_of(config, on_cpu=True),
        utilization=1.0,
        kv_bytes=GIB,
    )
    cpu = replace(cpu, gpu=Gpu(CPU, 16.0, None, None))
    memory = engine_memory(cpu, Load(2048, 8))
    assert memory.weights == 134_515_008 * 4
    assert (memory.kv_token, memory.capacity, memory.fits) == (46_080, 182 * 128, True)
    assert not engine_memory(replace(cpu, gpu=Gpu(CPU, 3.0, None, None)), Load(2048, 8)).fits


@given(
    st.sampled_from(sorted(name for name in KNOWN if "eagle" not in name)),
    st.sampled_from(sorted(GPUS)),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(64, 32_768),
    st.integers(1, 256),
)
def test_more_of_everything(name: str, gpu: str, gpus: int, context: int, requests: int) -> None:
    """A shorter context, fewer requests, or a smaller cache entry never make what fits not fit."""
    one = engine(name, gpu, gpus=gpus, max_model_len=context)
    load = Load(context, requests)
    memory = engine_memory(one, load)
    assert memory.needed <= engine_memory(one, Load(context + 64, requests)).needed
    assert memory.fits <= engine_memory(one, Load(context, max(1, requests - 1))).fits
    assert memory.fits <= engine_memory(replace(one, kv_value_bytes=1), load).fits
    assert memory.fits == (memory.starts and memory.held >= requests)
    assert memory.used <= max(memory.budget, memory.used - memory.kv) + 1


def test_placements_of_a_pair() -> None:
    """One GPU for both, separate ones, several drafters, and the drafter apart, which vLLM lacks."""
    pair = with_drafter("llama-3.1-8b-instruct", "llama-3.2-1b-instruct")
    found = {one.name: one for one in placements(pair, LOAD, instances=3)}
    assert {name: one.gpus for name, one in found.items()} == {
        "single": 1,
        "separate": 2,
        "instances": 4,
        "apart": 2,
    }
    assert not found["apart"].offered
    plain, speculative = (memory.held for _role, memory in found["separate"].engines)
    assert found["separate"].held == plain + speculative
    assert found["instances"].held == plain + 3 * speculative
    assert found["single"].held < found["separate"].held
    assert [memory.budget for _role, memory in found["single"].engines] == [
        pair.gpu.memory_gib * GIB * 0.46
    ] * 2


def test_heads_cannot_live_apart() -> None:
    """They read the target's hidden states."""
    one = engine("llama-3.1-8b-instruct")
    head = draft_of("eagle3", one.target, KNOWN["llama-3.1-8b-instruct-eagle3"])
    assert "apart" not in {found.name for found in placements(replace(one, draft=head, k=3), LOAD)}


@pytest.mark.parametrize(
    ("name", "found"), [("h100", "h100-80gb"), ("L4", "l4-24gb"), ("a100-40gb", "a100-40gb")]
)
def test_gpus_by_name(name: str, found: str) -> None:
    """The first part does where it is clear."""
    assert gpu_named(name).name == found


@pytest.mark.parametrize(
    ("name", "words"), [("a100", "one of a100-40gb, a100-80gb"), ("h1000", "did you mean")]
)
def test_unclear_gpus_are_asked_for(name: str, words: str) -> None:
    """One line with the names."""
    with pytest.raises(GpuError, match=words):
        gpu_named(name)

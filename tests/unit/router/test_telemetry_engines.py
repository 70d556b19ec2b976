"""vLLM's metrics on the service's page: labelled, together, and never in the way of our own."""

import asyncio
from pathlib import Path

import pytest
from fakes import NGRAM, VANILLA, FakePool, Harness, gone, whole
from prometheus_client.parser import text_string_to_metric_families

from replicas.frames import Frame
from router.telemetry_engines import EngineMetrics

pytestmark = pytest.mark.unit

PAGE = b"""# HELP python_info Python platform information
# TYPE python_info gauge
python_info{version="3.11"} 1.0
# HELP vllm:num_requests_running Number of requests.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b} c"} 2.0
# HELP vllm:time_to_first_token_seconds Histogram.
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.5"} 3.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 4.0
vllm:time_to_first_token_seconds_count{engine="0"} 4.0
vllm:time_to_first_token_seconds_sum{engine="0"} 1.5
"""


def shown(replica: str, text: bytes = PAGE) -> list[Frame]:
    return [whole(text, content_type="text/plain", replica=replica)]


def read(text: bytes) -> dict[tuple[str, str, str], float]:
    """Samples by name, profile and replica; that the format is right is checked on the way."""
    heads = [line for line in text.splitlines() if line.startswith(b"# TYPE")]
    assert len(heads) == len(set(heads)), "a family stands in two places"
    return {
        (sample.name, sample.labels["profile"], sample.labels["replica"]): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if "le" not in sample.labels
    }


async def test_engines_stand_under_one_head(tmp_path: Path) -> None:
    """Each sample with its profile and replica; what is not vLLM's is left out."""
    harness = await Harness(
        tmp_path, vanilla=FakePool(shown("v1")), ngram=FakePool(shown("n1", PAGE.replace(b" 2.0", b" 5.0")))
    ).ready()
    found = read(await EngineMetrics(harness.pools).exposition())
    assert found["vllm:num_requests_running", "vanilla", "v1"] == 2
    assert found["vllm:num_requests_running", "ngram", "n1"] == 5
    assert found["vllm:time_to_first_token_seconds_count", "vanilla", "v1"] == 4
    assert not any(name.startswith("python") for name, *_ in found)


async def test_every_replica_that_was_heard_of_is_asked(tmp_path: Path) -> None:
    """By its name; where two calls reached the same one, it counts once."""
    pool = FakePool(shown("n1"), shown("n2"), shown("n2"))
    several = NGRAM.model_copy(update={"replicas": 3})
    harness = await Harness(
        tmp_path, ngram=pool, vanilla=FakePool([gone()]), profiles=(VANILLA, several)
    ).ready()
    [_, state] = list(harness.pools)
    for name in ("n1", "n2", "n3"):
        state.note({"replica": name, "running": 0}, harness.clock.now_s)
    state.reported.pop("None", None)
    found = read(await EngineMetrics(harness.pools).exposition())
    assert pool.homes == ["n1", "n2", "n3"]
    assert {replica for _, _, replica in found} == {"n1", "n2"}


async def test_an_engine_that_cannot_answer_is_left_out(tmp_path: Path) -> None:
    """Dead, too slow, or without metrics: the others' are shown."""
    for bad in ([gone()], [asyncio.Event()], [whole(status=400)], [ValueError("broken")]):
        harness = await Harness(tmp_path, vanilla=FakePool(shown("v1")), ngram=FakePool(bad)).ready()
        found = read(await EngineMetrics(harness.pools, limit_s=0.05).exposition())
        assert {profile for _, profile, _ in found} == {"vanilla"}


async def test_nothing_where_no_engine_has_any(tmp_path: Path) -> None:
    """Fake engines, or none that answers."""
    harness = Harness(tmp_path)
    assert await EngineMetrics(harness.pools).exposition() == b""

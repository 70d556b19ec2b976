"""The end-to-end bench's loads and workload: how requests arrive, and what is asked."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.endtoend.load import arrivals, closed, opened, parse_load
from bench.endtoend.workload import CODE_EDITING, TASKS, Workload, own_prompts, workload
from bench.results import BenchError

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def own() -> Workload:
    return workload()


async def test_a_closed_loop_has_so_many_clients_and_keeps_the_order() -> None:
    """Answers stand where their items stood, whoever got them first."""
    asked, most = 0, 0

    async def ask(item: int) -> int:
        nonlocal asked, most
        asked += 1
        most = max(most, asked)
        for _ in range(10 - item):
            await asyncio.sleep(0)
        asked -= 1
        return 2 * item

    assert await closed(range(10), 3, ask) == [2 * item for item in range(10)]
    assert most == 3


@pytest.mark.usefixtures("skipping")
async def test_open_arrivals_wait_for_nobody() -> None:
    """Each is asked at its time while those before it are still answered."""
    clock = asyncio.get_running_loop().time
    began = clock()

    async def ask(item: str) -> tuple[str, float]:
        at = clock() - began
        await asyncio.sleep(100)
        return item, at

    found = await opened("abc", [0.0, 1.0, 5.0], ask, clock=clock)
    assert [item for item, _ in found] == ["a", "b", "c"]
    assert [at for _, at in found] == pytest.approx([0.0, 1.0, 5.0])
    assert clock() - began == pytest.approx(105.0)


async def test_the_first_error_is_told_as_it_is() -> None:
    """No group of errors reaches who asked."""

    async def ask(item: int) -> int:
        raise BenchError(f"no answer to {item}")

    with pytest.raises(BenchError, match="no answer to 0"):
        await closed([0, 1], 2, ask)
    with pytest.raises(BenchError, match="no answer to 0"):
        await opened([0], [0.0], ask)


@given(st.integers(1, 50), st.floats(0.01, 100), st.text(max_size=5))
def test_arrivals_are_the_same_for_all_sides(count: int, rate: float, seed: str) -> None:
    """The seed alone decides; times never go back."""
    times = arrivals(count, rate, seed)
    assert times == arrivals(count, rate, seed)
    assert times[0] == 0.0
    assert times == sorted(times)


def test_arrivals_come_at_their_rate() -> None:
    """Many of them take as long as the rate says, about."""
    assert arrivals(4000, 2.0, "any")[-1] == pytest.approx(2000, rel=0.1)


@pytest.mark.parametrize("text", ["closed-2", "open-0.5", "closed-16"])
def test_loads_are_named_as_they_are_written(text: str) -> None:
    """What tables say can be asked for."""
    assert parse_load(text).name == text


@pytest.mark.parametrize("text", ["closed", "closed-0", "open--1", "burst-3", "open-x"])
def test_what_is_no_load_is_refused(text: str) -> None:
    """With what to write."""
    with pytest.raises(BenchError, match="closed-N"):
        parse_load(text)


def test_every_task_has_fifty_prompts(own: Workload) -> None:
    """Without any file from elsewhere; a third or less of them warm up, the others are measured."""
    counts = Counter(prompt.task for prompt in own_prompts())
    assert list(own.measured) == list(TASKS)
    assert min(counts.values()) >= 50
    assert min(len(pool) for pool in own.measured.values()) >= 34
    assert all("```python" in prompt.messages[0]["content"] for prompt in own.measured[CODE_EDITING])


def test_what_warms_up_is_never_measured(own: Workload) -> None:
    """It is of the same tasks, as what a service was asked before is."""
    measured = {prompt.ident for pool in own.measured.values() for prompt in pool}
    warming = {prompt.ident for prompt in own.warming}
    assert not measured & warming
    assert measured | warming == {prompt.ident for prompt in own_prompts()}
    assert Counter(prompt.task for prompt in own.warming) == dict.fromkeys(TASKS, 16)
    assert {prompt.task for prompt in own.warming[:60]} == set(TASKS)


def test_blocks_ask_anew_and_all_sides_the_same(own: Workload) -> None:
    """Two of each task; a block is the same however often it is drawn."""
    first, second = own.block(0, per_task=2), own.block(1, per_task=2)
    assert first == own.block(0, per_task=2)
    assert sorted(prompt.task for prompt in first) == sorted(2 * list(TASKS))
    assert not {prompt.ident for prompt in first} & {prompt.ident for prompt in second}


def test_rows_of_spec_bench_take_turns_with_own_prompts(tmp_path: Path) -> None:
    """Under the task their category comes to; other categories are left out."""
    file = tmp_path / "rows.jsonl"
    rows = [
        {"id": number, "category": category, "turns": [f"{category} {number}"]}
        for category in ("stem", "other")
        for number in range(8)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    found = workload(file, ["qa"])
    sources = [prompt.source for prompt in found.measured["qa"]]
    assert list(found.measured) == ["qa"]
    assert {"own", "spec-bench"} == set(sources[:12])
    assert not any("other" in prompt.messages[0]["content"] for prompt in found.measured["qa"][:12])


def test_what_cannot_be_asked_is_told(tmp_path: Path) -> None:
    """A task that does not exist, and a file that holds no rows."""
    with pytest.raises(BenchError, match="--tasks: cdoe"):
        workload(None, ["cdoe"])
    file = tmp_path / "rows.jsonl"
    file.write_text('{"no": "turns"}\n')
    with pytest.raises(BenchError, match="--spec-bench"):
        workload(file)

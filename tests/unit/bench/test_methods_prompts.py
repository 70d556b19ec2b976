"""The prompts of the methods bench: enough of each task, and none that drafters learn from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.methods.prompts import Prompt, chosen, own_prompts, spec_bench
from bench.results import BenchError
from drafters.requests import own_prompts as learned_from
from policies.tasks import TASKS

pytestmark = pytest.mark.unit


def test_every_task_has_fifty_prompts_of_our_own() -> None:
    """All different, each with its own name."""
    found = own_prompts()
    count = Counter(prompt.family for prompt in found)
    assert set(count) == set(TASKS) - {"other"}
    assert min(count.values()) >= 50
    assert len({prompt.text for prompt in found}) == len({prompt.id for prompt in found}) == len(found)
    assert not [prompt for prompt in found if not prompt.text.strip()]


def test_no_drafter_has_learned_from_them() -> None:
    """They are not among the prompts of `draft train`, as many as it draws, not even as a part of one."""
    learned = "\n".join(
        turn["content"] for prompt in learned_from(per_template=40) for turn in prompt.messages
    )
    assert [prompt for prompt in own_prompts() if prompt.text in learned] == []


def test_rows_of_spec_bench_give_their_first_turn(tmp_path: Path) -> None:
    """Under their category."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": "q1", "category": "math", "turns": ["one", "two"]}\n', "utf-8")
    assert spec_bench(file) == [Prompt("q1", "spec-bench math", "one")]


@pytest.mark.parametrize("line", ["{", "[]", '{"id": 1, "category": "qa"}', '{"id": 1, "turns": ["a"]}'])
def test_a_bad_row_is_told_with_its_number(tmp_path: Path, line: str) -> None:
    """And with what it needs."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": "q1", "category": "math", "turns": ["one"]}\n' + line, "utf-8")
    with pytest.raises(BenchError, match=r"rows\.jsonl:2: .* needs id, category and turns"):
        spec_bench(file)


def test_families_take_turns() -> None:
    """A run that is cut short has some of all; those that are too long are left out."""
    prompts = [Prompt(f"{family}{n}", family, family) for family in "ab" for n in range(3)]
    prompts.append(Prompt("long", "b", "x" * 10_000))
    assert [one.id for one in chosen(prompts, families=None, limit=2)] == ["a0", "b0", "a1", "b1"]
    assert [one.id for one in chosen(prompts, families=["b"], limit=None)] == ["b0", "b1", "b2"]
    with pytest.raises(BenchError, match="--tasks: 'c' is none of a, b"):
        chosen(prompts, families=["c"], limit=None)

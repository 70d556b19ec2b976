"""Prompts: varied, repeatable, held out by template; an operator's file told apart line by line."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from drafters.errors import DraftError
from drafters.requests import PROMPTS, Messages, Prompt, own_prompts, read_prompts, requests
from policies.tasks import TASKS

pytestmark = pytest.mark.unit


def encode(messages: Messages) -> list[int]:
    """A byte a token."""
    return list("".join(turn["content"] for turn in messages).encode())


@pytest.fixture(scope="module")
def own() -> list[Prompt]:
    """The project's prompts, a few of every template."""
    return list(own_prompts(per_template=3))


def test_own_prompts_are_of_every_task_and_filled_in(own: list[Prompt]) -> None:
    """No slot is left open, almost none is repeated, and subjects come from their file."""
    assert {prompt.task for prompt in own} >= set(TASKS)
    texts = [prompt.messages[-1]["content"] for prompt in own]
    assert not [text for text in texts if "{subject}" in text or "@@" in text]
    assert len(set(texts)) > 0.9 * len(texts)
    subjects = (PROMPTS / "subjects.txt").read_text("utf-8").split("\n")[1:-1]
    assert len({subject for subject in subjects for text in texts if subject in text}) > 20


def test_the_same_prompts_are_asked_alike_every_time(own: list[Prompt]) -> None:
    """Order, temperature and what is held out depend on the prompts alone; idents are unique."""
    first = list(requests(own, encode, prompt_tokens=400))
    assert first == list(requests(reversed(own), encode, prompt_tokens=400))
    assert len({request.ident for request in first}) > 0.99 * len(first)
    assert {request.temperature for request in first} == {0.0, 0.7, 1.0}


def test_held_out_templates_are_held_out_whole_and_answered_greedily(own: list[Prompt]) -> None:
    """A sixteenth of the templates or so; none of their prompts is learned from."""
    families = {json.dumps(list(prompt.messages)): prompt.family for prompt in own}
    sides: dict[str, set[bool]] = {}
    for prompt in own:
        for request in requests([prompt], encode, prompt_tokens=10_000):
            sides.setdefault(families[json.dumps(list(prompt.messages))], set()).add(request.held_out)
            assert not request.held_out or request.temperature == 0
    assert all(len(held) == 1 for held in sides.values())
    assert 0.02 < sum(held == {True} for held in sides.values()) / len(sides) < 0.12


def test_heavier_prompts_come_earlier_and_long_ones_never() -> None:
    """Weights order the stream; what is longer than the limit is left out."""
    light = [Prompt("qa", f"l{n}", [{"role": "user", "content": f"light {n}"}]) for n in range(50)]
    heavy = [Prompt("qa", f"h{n}", [{"role": "user", "content": f"heavy {n}"}], 1e6) for n in range(5)]
    long = [Prompt("qa", "x", [{"role": "user", "content": "x" * 99}], 1e9)]
    found = islice(requests([*light, *heavy, *long], encode, prompt_tokens=20), 5)
    assert all(bytes(request.tokens).startswith(b"heavy") for request in found)


def test_an_operators_prompts_are_read(tmp_path: Path) -> None:
    """A prompt or messages a line; blank lines are nothing."""
    file = tmp_path / "prompts.jsonl"
    turns = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    file.write_text(
        json.dumps({"prompt": "hi"}) + "\n\n" + json.dumps({"messages": turns, "task": "qa"}), "utf-8"
    )
    first, second = read_prompts(file)
    assert (first.task, list(first.messages)) == ("", [{"role": "user", "content": "hi"}])
    assert (second.task, list(second.messages)) == ("qa", turns)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", ":2: not JSON"),
        ("[1]", ":2: not an object"),
        ('{"messages": []}', ":2: messages"),
        ('{"messages": [{"role": "user"}]}', ":2: messages"),
        ('{"prompt": 3}', ":2: messages"),
        ('{"prompt": "a", "task": 3}', ":2: task"),
        ('{"prompt": "caf\\ud83d"}', ":2: half of a surrogate pair"),
    ],
)
def test_bad_lines_are_told_by_their_number(tmp_path: Path, line: str, complaint: str) -> None:
    """In one line that says what is needed."""
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "fine"}\n' + line + "\n", "utf-8")
    with pytest.raises(DraftError) as told:
        read_prompts(file)
    assert complaint in str(told.value)
    assert "\n" not in str(told.value)


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    """As is one that is not there or not text."""
    file = tmp_path / "prompts.jsonl"
    for content in (None, b"\n", b"\xff\xfe"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(DraftError, match=r"prompts\.jsonl"):
            read_prompts(file)

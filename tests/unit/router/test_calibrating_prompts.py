"""The operator's prompts: what is read, and what is wrong with a line."""

import json
from pathlib import Path
from typing import Any

import pytest

from router.calibrating.prompts import PromptsError, check_tasks, drawn, read_prompts

pytestmark = pytest.mark.unit

TASKS = ("code", "qa")
USER = [{"role": "user", "content": "Hello"}]


def written(folder: Path, *lines: Any) -> Path:
    file = folder / "prompts.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


@pytest.mark.parametrize(
    ("line", "domain", "task"),
    [
        ({"domain": "invoices", "messages": USER}, "invoices", None),
        ({"segment": "gold", "category": "x", "prompt": "Hello"}, "gold", None),
        ({"category": "writing", "turns": ["Hello", "And then?"]}, "writing", None),
        ({"task": "code", "messages": USER, "source": "x"}, "code", "code"),
        ({"task": "code", "domain": "sql of acme", "messages": USER}, "sql of acme", "code"),
    ],
)
def test_a_line_has_a_domain_and_what_is_asked(
    tmp_path: Path, line: dict[str, Any], domain: str, task: str | None
) -> None:
    """By any of their names; a task is one only where it is called so."""
    (prompt,) = read_prompts(written(tmp_path, line, ""))
    assert (prompt.domain, prompt.task, list(prompt.messages)) == (domain, task, USER)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "not JSON: "),
        ([], "expected an object like "),
        ({"messages": USER}, "no domain, segment, task or category: "),
        ({"domain": 3, "messages": USER}, "domain: expected a name"),
        ({"domain": "a"}, "no messages, prompt or turns"),
        ({"domain": "a", "prompt": " "}, "no messages, prompt or turns"),
        ({"domain": "a", "messages": []}, "messages: expected a list"),
        ({"domain": "a", "messages": [{"role": "me"}]}, "messages[0].role: expected one of system"),
        ({"domain": "a", "messages": [{"role": "user"}]}, "messages[0].content: expected text"),
        (
            {"domain": "a", "messages": [{"role": "user", "content": []}]},
            "messages[0].content: expected text",
        ),
        ({"domain": "a", "messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content: expected"),
        ({"domain": "a", "messages": [*USER, {"role": "user", "content": [{}]}]}, "messages[1].content: "),
        ({"domain": "a", "messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].con"),
        ({"task": ["code"], "domain": "a", "messages": USER}, "task: expected a name"),
        ({"domain": "a", "prompt": "x\ud800"}, "half of a surrogate pair"),
        ({"domain": "a", "prompt": "x", "max_tokens": 1}, "max_tokens: expected a whole number from 2 on"),
    ],
)
def test_a_bad_line_is_told_with_its_number(tmp_path: Path, line: Any, told: str) -> None:
    """One line of text each, which says what to do."""
    file = written(tmp_path, {"domain": "a", "prompt": "x"}, line)
    with pytest.raises(PromptsError) as caught:
        read_prompts(file)
    assert str(caught.value).startswith(f"{file}:2: {told}")
    assert "\n" not in str(caught.value)


def test_a_task_that_the_service_does_not_know_is_told_with_its_number(tmp_path: Path) -> None:
    """Once there is a service to say which there are; a prompt without one is for its classifier."""
    file = written(tmp_path, {"domain": "a", "prompt": "x"}, "", {"task": "cooking", "messages": USER})
    prompts = read_prompts(file)
    with pytest.raises(PromptsError) as caught:
        check_tasks(file, prompts, TASKS)
    assert str(caught.value) == f"{file}:3: task: 'cooking' is none of code, qa"
    check_tasks(file, prompts, (*TASKS, "cooking"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, end: str) -> None:
    """What else Unicode separates lines with may stand inside of JSON's strings."""
    odd = "a\u2028b\u2029c\u0085d"
    rows = [json.dumps({"domain": "a", "prompt": odd}, ensure_ascii=False), '{"domain": "a", "prompt": "x"}']
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(("\ufeff" + end.join(rows) + end).encode())
    first, second = read_prompts(file)
    assert (first.messages[0]["content"], second.line) == (odd, 2)
    file.write_bytes((end.join([*rows, "{"]) + end).encode())
    with pytest.raises(PromptsError, match=":3: not JSON"):
        read_prompts(file)


def test_parts_are_content_too_and_an_id_may_be_null(tmp_path: Path) -> None:
    """As OpenAI has them."""
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "x"}}]
    line = {"id": None, "domain": "a", "messages": [{"role": "user", "content": parts}]}
    first, second = read_prompts(written(tmp_path, line, line))
    assert first.messages == [{"role": "user", "content": parts}]
    assert (first.id, second.id) == ("line-1", "line-2")


def test_all_bad_lines_are_told_at_once_but_not_without_end(tmp_path: Path) -> None:
    """Ten of them, and how many more there are."""
    with pytest.raises(PromptsError) as caught:
        read_prompts(written(tmp_path, *["{"] * 25))
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1].endswith("15 further lines cannot be used")


@pytest.mark.parametrize(
    ("content", "told"), [(None, "No such file"), (b"\n", "no prompts"), (b"\xff", "not UTF-8")]
)
def test_a_file_that_has_no_prompts_is_told(tmp_path: Path, content: bytes | None, told: str) -> None:
    """In one line."""
    file = tmp_path / "p.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PromptsError, match=told):
        read_prompts(file)


def test_two_prompts_of_one_id_are_told(tmp_path: Path) -> None:
    """Their answers could not be told apart."""
    line = {"id": "same", "domain": "a", "prompt": "x"}
    with pytest.raises(PromptsError, match=":2: id: 'same' is there already"):
        read_prompts(written(tmp_path, line, line))


def test_some_of_each_domain_are_drawn_and_always_the_same(tmp_path: Path) -> None:
    """So that a calibration finds its prompts again."""
    lines = [{"domain": "ab"[number % 2], "prompt": str(number)} for number in range(20)]
    prompts = read_prompts(written(tmp_path, *lines))
    first = drawn(prompts, per_domain=3, seed=1)
    assert [prompt.domain for prompt in first] == ["a"] * 3 + ["b"] * 3
    assert first == drawn(prompts, per_domain=3, seed=1) != drawn(prompts, per_domain=3, seed=2)
    assert len(drawn(prompts, per_domain=99, seed=1)) == 20

"""What is kept of questions and answers: only what the deployment allows, bounded, and never at a request's cost."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import T0, FakePool, Harness, last, opening, request, whole
from prometheus_client import CollectorRegistry, generate_latest

from router import capture_files
from router.capture import Capture, CaptureCollector, opened_capture
from router.capture_settings import CaptureSettings
from router.captured_row import Redaction, Taken, captured_row, is_plain
from router.settings import SettingsError, parse_settings

pytestmark = pytest.mark.unit

ANSWER = json.dumps(
    {"choices": [{"message": {"role": "assistant", "content": "It is."}, "finish_reason": "stop"}]}
).encode()
EVENTS = [
    b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": "It "}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": "is."}, "finish_reason": "length"}]}\n\ndata: [DONE]\n\n',
]


def settings(folder: Path, **changes: Any) -> CaptureSettings:
    """Everything of everybody is kept."""
    return CaptureSettings(**({"folder": str(folder), "tenants": ("*",), "sample": 1.0} | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where it is kept."""
    return tmp_path / "captured"


def rows(folder: Path) -> list[dict[str, Any]]:
    """What was kept."""
    return [
        json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()
    ]


def modes(folder: Path) -> list[int]:
    """Who may read it, and the file in it."""
    return [path.stat().st_mode & 0o777 for path in (folder, *folder.glob("*.jsonl"))]


async def captured(
    tmp_path: Path, given: CaptureSettings, *asked: Any, script: Any = None, **more: Any
) -> Capture:
    """A capture that saw these requests answered."""
    assert given.folder is not None
    capture = Capture(Path(given.folder), given, clock=lambda: T0, **more)
    harness = await Harness(tmp_path, ngram=FakePool(script or [whole(ANSWER)])).ready()
    service = capture.around(harness.service)
    for one in asked:
        response = await service.respond(one)
        body = b"".join([part async for part in response.body])
        assert body in {ANSWER, b"".join(EVENTS)} or script
    capture.start()
    capture.close()
    return capture


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    """Off by default; a deployment says where, and whose."""
    assert opened_capture(parse_settings({}).capture) is None


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"folder": "x"}, "capture: tenants: name those whose requests may be kept, or `*` for all"),
        ({"tenants": ["a b"]}, "capture.tenants: 'a b' is no tenant's name"),
        ({"redact": ["(x"]}, "capture.redact: '(x' is no regular expression: missing )"),
        ({"redact": ["x*"]}, "capture.redact: 'x*' matches empty text"),
        ({"sample": 0}, "capture.sample: Input should be greater than 0"),
        ({"max_bytes": 2**20, "max_row_bytes": 2**17}, "capture: max_row_bytes: set it to a sixteenth"),
        ({"folders": "x"}, "capture.folders: unknown key; did you mean 'folder'?"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(given: dict[str, Any], complaint: str) -> None:
    """With the field, and what to do."""
    with pytest.raises(SettingsError) as refused:
        parse_settings({"capture": given})
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("streamed", [False, True])
async def test_question_and_answer_are_kept_and_nothing_else(
    tmp_path: Path, folder: Path, streamed: bool
) -> None:
    """No tenant, no key, no request id; for their owner only."""
    script = (
        [opening(EVENTS[0]), last(EVENTS[1])._replace(ending=None), last(EVENTS[2])] if streamed else None
    )
    capture = await captured(
        tmp_path,
        settings(folder),
        request({"x-specroute-tenant": "acme"}, temperature=0.5, stream=streamed, user="me"),
        script=script,
    )
    assert rows(folder) == [
        {
            "format": "specroute-captured/1",
            "at": T0,
            "task": "code",
            "messages": [{"role": "user", "content": "Write a Python function that merges two lists."}],
            "answer": "It is.",
            "temperature": 0.5,
            "redacted": False,
        }
    ]
    assert modes(folder) == [0o700, 0o600]
    assert capture.counts["written"] == 1


async def test_only_named_tenants_and_only_the_share(tmp_path: Path, folder: Path) -> None:
    """Others' requests are not even looked at."""
    draws: Iterator[float] = iter([0.9, 0.1])
    asked = [request({"x-specroute-tenant": name}) for name in ("other", "acme", "acme")]
    await captured(
        tmp_path, settings(folder, tenants=("acme",), sample=0.5), *asked, draw=lambda: next(draws)
    )
    assert len(rows(folder)) == 1


async def test_what_matches_is_replaced_before_it_is_written(tmp_path: Path, folder: Path) -> None:
    """In questions and answers; the row says that something was."""
    given = settings(folder, redact=(r"\d{4}-\d{4}", "(?i)it is"))
    await captured(
        tmp_path, given, request(messages=[{"role": "user", "content": "1234-5678?"}]), request(messages=[])
    )
    (row,) = rows(folder)
    assert (row["messages"][0]["content"], row["answer"], row["redacted"]) == (
        "[redacted]?",
        "[redacted].",
        True,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{}]},
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"chat_template_kwargs": {"a": 1}},
        {"continue_final_message": True},
        {"logit_bias": {"1": 2}},
    ],
)
def test_requests_of_more_than_text_are_left_alone(fields: dict[str, Any]) -> None:
    """What the target read could not be told from the messages."""
    assert not is_plain(fields)
    assert is_plain({"messages": [], "n": 1, "response_format": {"type": "text"}, "tools": None})


@pytest.mark.parametrize(
    ("messages", "body"),
    [
        ([{"role": "tool", "content": "x"}], ANSWER),
        ([{"role": "user", "content": [{"type": "image_url"}]}], ANSWER),
        ([{"role": "user", "content": "x"}], b'{"error": {"message": "no"}}'),
        ([{"role": "user", "content": "x"}], b"".join(EVENTS[:2])),
        ([{"role": "user", "content": "x"}], b'data: {"error": {}}\n\ndata: [DONE]\n\n'),
        (
            [{"role": "user", "content": "x"}],
            b'{"choices": [{"message": {"content": "a", "tool_calls": [1]}, "finish_reason": "stop"}]}',
        ),
    ],
)
def test_answers_that_are_not_whole_text_are_skipped(messages: list[Any], body: bytes) -> None:
    """Errors, breaks, tools, pictures."""
    assert captured_row(Taken({"messages": messages}, "qa", body, T0), Redaction(())) is None


def test_text_parts_are_joined() -> None:
    """As vLLM joins them."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    row = captured_row(
        Taken({"messages": [{"role": "user", "content": parts}]}, "qa", ANSWER, T0), Redaction(())
    )
    assert row is not None
    assert json.loads(row)["messages"] == [{"role": "user", "content": "a\nb"}]


def test_an_expression_that_never_ends_costs_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """And lets others have the interpreter meanwhile."""
    monkeypatch.setattr("router.captured_row._PATIENCE_S", 0.01)
    redaction = Redaction(("(a|aa)+$",))
    with pytest.raises(TimeoutError):
        redaction("a" * 60 + "!")


async def test_a_full_disk_costs_rows_and_one_line(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests are answered; what could not be kept is counted; no text reaches the log."""

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(capture_files, "_write_whole", full)
    with caplog.at_level(logging.INFO, logger="router.capture"):
        capture = await captured(tmp_path, settings(folder), request(), request())
    assert capture.counts["failed"] == 2
    assert [record.getMessage() for record in caplog.records] == [
        "capture: OSError: [Errno 28] No space left on device; what is not kept is counted"
    ]
    assert rows(folder) == []


async def test_a_slow_disk_drops_answers_instead_of_keeping_them_in_memory(
    tmp_path: Path, folder: Path
) -> None:
    """The queue is short; the metric tells."""
    capture = await captured(tmp_path, settings(folder), *[request()] * 5, waiting=2)
    registry = CollectorRegistry()
    registry.register(CaptureCollector(capture))
    shown = generate_latest(registry).decode()
    assert capture.counts["dropped"] + capture.counts["written"] == 5
    assert capture.counts["dropped"] >= 3
    assert f'specroute_captured_answers_total{{result="dropped"}} {float(capture.counts["dropped"])}' in shown


async def test_long_answers_are_not_kept(tmp_path: Path, folder: Path) -> None:
    """Nor gathered: more than is needed of one is let go of at once."""
    given = settings(folder, max_row_bytes=1024)
    long = [whole(ANSWER.replace(b"It is.", b"It is. " * 300))]
    longer = [whole(b"x" * 20_000)]
    for script in (long, longer):
        capture = await captured(tmp_path, given, request(), script=script)
        assert capture.counts["too_long"] == 1
    assert rows(folder) == []


def test_the_oldest_files_go_whoever_wrote_them(folder: Path) -> None:
    """Neither rows nor bytes grow beyond what the folder may hold."""
    given = settings(folder, max_rows=64)
    folder.mkdir()
    (folder / "captured-elsewhere-0-000001.jsonl").write_text("{}\n" * 10)
    for start in range(2):  # as after a restart
        files = capture_files.CaptureFiles(folder, given)
        for number in range(150):
            files.write(json.dumps({"at": 1000 * start + number}))
            lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
            assert len(lines) <= 64
        files.close()
    kept = [row["at"] for row in rows(folder)]
    assert kept == list(range(1150 - len(kept), 1150))
    assert len(kept) >= 56


def test_half_a_line_does_not_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk had no room for is taken back, and the next row begins a file."""
    files = capture_files.CaptureFiles(folder, settings(folder))
    files.write("{}")
    write = capture_files.os.write
    monkeypatch.setattr(capture_files.os, "write", lambda file, data: write(file, data[:3]))
    with pytest.raises(OSError, match="only 3 of"):
        files.write('{"a": 1}')
    monkeypatch.setattr(capture_files.os, "write", write)
    files.write("{}")
    files.close()
    assert rows(folder) == [{}, {}]

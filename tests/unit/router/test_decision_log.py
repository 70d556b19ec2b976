"""The decision log: what it writes, how much, and that nothing about a disk reaches a request."""

import errno
import fcntl
import json
import logging
import threading
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import pytest
from fakes import Harness, request
from prometheus_client import CollectorRegistry, generate_latest

from policies.off_policy import DecisionRecord
from router.decision_files import DecisionFiles
from router.decision_log import DecisionLog, opened_log
from router.decision_log_metrics import DecisionLogCollector
from router.outcomes import Outcome
from router.settings import DecisionLogSettings, SettingsError, parse_settings

pytestmark = pytest.mark.unit

KEY = b"0123456789abcdef"
SECRET = "the quick brown fox"


async def outcomes(folder: Path, number: int = 1, **spec: Any) -> list[Outcome]:
    """Answered requests that tell a secret."""
    harness = await Harness(folder, **{"mode": "adaptive", **spec}).ready()
    messages = [
        {"role": "user", "content": SECRET},
        {"role": "assistant", "content": SECRET},
        {"role": "user", "content": SECRET},
    ]
    for index in range(number):
        given = request({"x-request-id": f"r{index}", "x-specroute-tenant": "acme"}, messages=messages)
        await harness.answer(given)
        harness.clock.now_s += 1
    return harness.outcomes


def log_of(folder: Path, **settings: Any) -> DecisionLog:
    return DecisionLog(folder / "log" / "decisions.jsonl", DecisionLogSettings(**settings), key=KEY)


def written(log: DecisionLog, given: list[Outcome]) -> DecisionLog:
    """The log after it wrote what it could."""
    log.start()
    for outcome in given:
        log.on_outcome(outcome)
    log.close()
    return log


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def lines(folder: Path) -> list[str]:
    """Of all files."""
    return [
        line
        for path in sorted((folder / "log").glob("decisions-*"))
        for line in path.read_text().splitlines()
    ]


async def test_a_line_is_a_record(tmp_path: Path) -> None:
    """It has every field of the schema and no other, and can be read back."""
    written(log_of(tmp_path), await outcomes(tmp_path))
    (line,) = lines(tmp_path)
    values = json.loads(line)
    assert values.keys() == DecisionRecord.model_fields.keys()
    context = DecisionRecord.model_fields["context"].annotation
    assert context is not None
    assert values["context"].keys() == context.model_fields.keys()
    found = DecisionRecord.model_validate_json(line)
    assert (found.request_id, found.tenant, found.result, found.sample) == ("r0", "acme", "completed", 1.0)
    assert sum(chance for *_, chance in found.chances) == pytest.approx(1.0)
    assert {arm.profile for arm in found.arms} == {"vanilla", "ngram"}
    assert (found.decode_s, found.steps, found.drafted, found.accepted) == (0.4, 3, 10, 5)


async def test_no_text_is_written(tmp_path: Path) -> None:
    """Neither prompts nor what names their conversation to the router itself, nor errors."""
    given = await outcomes(tmp_path)
    turn = given[0].request.conversation
    written(log_of(tmp_path), given)
    (line,) = lines(tmp_path)
    assert SECRET not in line
    assert turn.before is not None
    assert turn.before not in line
    assert json.loads(line)["turn"][0] is not None
    assert "error" not in json.loads(line)


async def test_the_queue_holds_no_bodies(tmp_path: Path) -> None:
    """What waits for a slow disk must not be large."""
    log = log_of(tmp_path)
    log.on_outcome((await outcomes(tmp_path))[0])
    waiting = log._queue.get_nowait()
    assert waiting is not None
    assert (waiting.request.body, waiting.request.stream) == (b"", False)


def test_sampling_is_settled_by_the_id_and_a_key(tmp_path: Path) -> None:
    """A quarter is a quarter; the same id has the same answer, under another key another."""
    log, other = log_of(tmp_path, sample=0.25), DecisionLog(tmp_path / "x", DecisionLogSettings(sample=0.25))
    names = [f"request-{number}" for number in range(4000)]
    chosen = [log.samples(name) for name in names]
    assert 900 < sum(chosen) < 1100
    assert chosen == [log.samples(name) for name in names]
    assert chosen != [other.samples(name) for name in names]
    assert all(log_of(tmp_path).samples(name) for name in names)


async def test_files_rotate(tmp_path: Path) -> None:
    """No file is larger than `max_bytes`, and besides the newest there are `keep`."""
    log = written(log_of(tmp_path, max_bytes=2**16, keep=2), await outcomes(tmp_path, 100))
    files = sorted((tmp_path / "log").glob("decisions-*"))
    assert len(files) == 3
    assert all(path.stat().st_size <= 2**16 for path in files)
    assert log.counts() == {"written": 100, "dropped": 0, "failed": 0}
    reader = DecisionFiles(files)
    ids = [record.request_id for record in reader.records()]
    assert ids == [f"r{number}" for number in range(100 - len(ids), 100)]
    assert reader.skipped == 0


async def test_every_router_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Two at once write two files; one that starts again goes on in the first that is free."""
    given = await outcomes(tmp_path)
    first, second, third = log_of(tmp_path), log_of(tmp_path), log_of(tmp_path)
    for log in (first, second):
        log._files.open()
    first._write(given[0])
    second._write(given[0])
    first._files.close()
    third._files.open()
    third._write(given[0])
    assert [json.loads(line)["router"][-2:] for line in lines(tmp_path)] == ["-0", "-0", "-1"]
    for log in (second, third):
        log._files.close()


async def test_a_slow_disk_costs_lines_not_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the queue has no room for is dropped and counted; closing does not wait for room either."""
    given = await outcomes(tmp_path)
    log = DecisionLog(tmp_path / "log" / "decisions.jsonl", DecisionLogSettings(), key=KEY, waiting=3)
    stuck, entered = threading.Event(), threading.Event()
    write = log._write

    def slow(outcome: Outcome) -> None:
        entered.set()
        stuck.wait(120)
        write(outcome)

    monkeypatch.setattr(log, "_write", slow)
    log.start()
    log.on_outcome(given[0])
    assert entered.wait(120)
    for _ in range(8):
        log.on_outcome(given[0])
    assert log.dropped == 5
    stuck.set()
    log.close()
    assert log.written + log.dropped == 9


def full_disk(times: int, real: Callable[..., None]) -> Callable[..., None]:
    """Fails so often, half a line written, then works."""
    left = [times]

    def emit(self: RotatingFileHandler, given: logging.LogRecord) -> None:
        if left[0]:
            left[0] -= 1
            with Path(self.baseFilename).open("a") as file:
                file.write('{"v":1,"requ')
            raise OSError(28, "No space left on device")
        real(self, given)

    return emit


async def test_a_full_disk_is_counted_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The lines it could not take are missing, the next ones are whole, and the service's log has two lines."""
    monkeypatch.setattr(RotatingFileHandler, "emit", full_disk(5, RotatingFileHandler.emit))
    with caplog.at_level(logging.WARNING, logger="router.decision_log"):
        log = written(log_of(tmp_path), await outcomes(tmp_path, 8))
    assert log.counts() == {"written": 3, "dropped": 0, "failed": 5}
    failure, recovery = [message for message in caplog.messages if "decision log" in message]
    assert "No space left" in failure
    assert "5 lines are missing" in recovery
    reader = DecisionFiles(sorted((tmp_path / "log").glob("decisions-*")))
    assert [record.request_id for record in reader.records()] == ["r5", "r6", "r7"]
    assert reader.skipped == 1


async def test_a_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Traffic goes on, the log is not written."""
    (tmp_path / "log").write_text("a file")
    log = written(log_of(tmp_path), await outcomes(tmp_path, 3))
    assert log.counts() == {"written": 0, "dropped": 0, "failed": 3}
    assert len([message for message in caplog.messages if "decision log" in message]) == 1


async def test_a_folder_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every outcome tries again, and none leaves a file open behind it."""

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    given = await outcomes(tmp_path, 5)
    before = open_files()
    assert written(log_of(tmp_path), given).counts() == {"written": 0, "dropped": 0, "failed": 5}
    assert open_files() == before


def test_errors_while_writing_are_raised(tmp_path: Path) -> None:
    """The library's handler would swallow them."""
    log = log_of(tmp_path)
    log._files.open()
    handler = log._files._handler
    assert handler is not None
    handler.stream = (tmp_path / "readonly").open("w")
    handler.stream.close()
    with pytest.raises(ValueError, match="closed"):
        log._files.write("x")
    log._files.open()
    log._files.write("y")
    log._files.close()


async def test_the_metric_has_the_counts(tmp_path: Path) -> None:
    """Written, dropped and failed."""
    registry = CollectorRegistry()
    registry.register(DecisionLogCollector(written(log_of(tmp_path), await outcomes(tmp_path, 2))))
    text = generate_latest(registry).decode()
    assert 'specroute_decision_log_lines_total{result="written"} 2.0' in text
    assert 'specroute_decision_log_lines_total{result="dropped"} 0.0' in text


def test_off_by_default() -> None:
    """And what cannot be is refused by name."""
    assert opened_log(parse_settings({}).decision_log) is None
    for wrong in ({"sample": 0}, {"sample": 2}, {"keep": 0}, {"max_bytes": 10}, {"paht": "x"}):
        with pytest.raises(SettingsError, match=r"decision_log\."):
            parse_settings({"decision_log": wrong})

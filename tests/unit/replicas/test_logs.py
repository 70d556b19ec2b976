"""The log: one line per event, ids of the request on it, nothing secret in it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicas import logs
from replicas.logs import JsonFormatter, TextFormatter, bind, configure_logging, problems

pytestmark = pytest.mark.unit

DOCUMENT = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")


def written(formatter: logging.Formatter, message: str = "it is so", *arguments: object, **more: Any) -> str:
    """What a formatter makes of one record, in a context of its own."""
    values = {"name": "router.x", "level": logging.WARNING, "pathname": "x.py", "lineno": 1, "exc_info": None}
    record = logging.LogRecord(msg=message, args=arguments, **(values | more))
    return formatter.format(record)


def in_request(request_id: str, trace_id: str | None, formatter: logging.Formatter, message: str) -> str:
    """A line that is written while a request is answered."""

    def write() -> str:
        bind(request_id, trace_id)
        return written(formatter, message)

    return copy_context().run(write)


def failure() -> tuple[Any, ...]:
    """Of an exception with a cause."""
    error = ValueError("what the client wrote " * 100)
    try:
        try:
            {}["the cause"]
        except KeyError as cause:
            raise error from cause
    except ValueError:
        return type(error), error, error.__traceback__


@contextmanager
def configured(process: str = "router") -> Iterator[logging.Logger]:
    """Our loggers as the environment says, put back afterwards."""
    loggers = [logging.getLogger(name) for name in ("router", "replicas", "policies", "opentelemetry")]
    before = [(one, one.handlers, one.level, one.propagate) for one in loggers]
    try:
        configure_logging(process)
        yield loggers[0]
    finally:
        for handler in loggers[0].handlers:
            handler.close()
        for one, handlers, level, propagate in before:
            one.handlers, one.propagate = handlers, propagate
            one.setLevel(level)


def test_a_json_line_says_when_who_and_what() -> None:
    """In fields of their own, in UTC."""
    line = json.loads(written(JsonFormatter("router"), "%s of %d", "three", 4, name="router.pools"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert isinstance(line.pop("pid"), int)
    assert line == {
        "level": "WARNING",
        "logger": "router.pools",
        "message": "three of 4",
        "process": "router",
    }


def test_lines_of_a_request_carry_its_ids() -> None:
    """And its trace's, where there is one."""
    line = json.loads(in_request("r-1", "ab" * 16, JsonFormatter("router"), "it moved"))
    assert (line["request_id"], line["trace_id"]) == ("r-1", "ab" * 16)
    line = json.loads(in_request("r-2", None, JsonFormatter("router"), "it moved"))
    assert line["request_id"] == "r-2"
    assert "trace_id" not in line
    assert in_request("r-1", "abc", TextFormatter(), "it moved").endswith("it moved (request r-1, trace abc)")


def test_a_message_that_names_the_request_does_not_repeat_it() -> None:
    """Lines for people stay short."""
    assert in_request("r-1", None, TextFormatter(), "request r-1 moved").endswith(": request r-1 moved")


async def test_requests_at_once_keep_their_ids_apart() -> None:
    """Each has a task of its own."""

    async def request(number: int) -> str:
        bind(f"r-{number}")
        await asyncio.sleep(0)
        return str(json.loads(written(JsonFormatter("router")))["request_id"])

    assert await asyncio.gather(*map(request, range(3))) == ["r-0", "r-1", "r-2"]


def test_a_failure_is_one_line_with_its_stack_in_a_field() -> None:
    """The causes first; of the text of an exception, which may quote a request, only the beginning."""
    line = written(JsonFormatter("router"), exc_info=failure())
    assert "\n" not in line
    error = json.loads(line)["error"]
    assert error["type"] == "builtins.ValueError"
    assert len(error["message"]) < 600
    assert "in failure" in error["stack"]
    assert error["stack"].index("KeyError") < error["stack"].index("ValueError in")
    assert "what the client wrote" not in error["stack"]


def test_a_failure_can_be_read_by_people() -> None:
    """The stack on lines of its own, the error at the end; and again for the next formatter."""
    record = logging.LogRecord("router.x", logging.ERROR, "x.py", 1, "it failed", (), failure())  # type: ignore[arg-type]
    for _ in range(2):
        text = TextFormatter().format(record)
        assert text.splitlines()[0].endswith("router.x: it failed")
        assert text.splitlines()[-1].startswith("ValueError: what the client wrote")
        assert len(text.splitlines()[-1]) < 600


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Authorization: Bearer sk-abcdef123", "Authorization: Bearer ***"),
        ("redis://user:hunter22@store:6379/0 is gone", "redis://user:***@store:6379/0 is gone"),
        ("the token is s3cret-token!", "the token is ***!"),
        ("bearer of news: http://host:80/x@y", "bearer of news: http://host:80/x@y"),
    ],
)
def test_credentials_are_blotted_out(said: str, shown: str) -> None:
    """Those in headers and URLs by their form, the service's own by their values."""
    secrets = logs._secrets({"SPECROUTE_ADMIN_TOKEN": "s3cret-token", "EMPTY_TOKEN": "", "HOME": "it is so"})
    assert json.loads(written(JsonFormatter("router", secrets), said))["message"] == shown
    assert shown in written(TextFormatter(secrets), said)


@given(st.text(), st.text(max_size=20))
def test_whatever_is_logged_is_one_line(message: str, name: str) -> None:
    """Of JSON that can be read back."""
    line = written(JsonFormatter("router"), "%s", message, name=name or "x")
    assert len(line.splitlines()) == 1
    assert json.loads(line)["logger"] == (name or "x")


@pytest.mark.parametrize(
    ("setting", "reader", "form"),
    [
        ("", "machine", "json"),
        ("auto", "machine", "json"),
        ("auto", "terminal", "colour"),
        ("auto", "folder", "text"),
        ("TEXT", "machine", "text"),
        ("json", "folder", "json"),
        ("json", "terminal", "json"),
        ("nonsense", "machine", "json"),
    ],
)
def test_the_form_follows_who_reads(
    setting: str, reader: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON for machines; text on a terminal and in the embedded service; colour only on a terminal."""
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: reader == "terminal")
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv(logs.FORMAT_VARIABLE, setting)
    monkeypatch.delenv(logs.LEVEL_VARIABLE, raising=False)
    monkeypatch.setenv(logs.FOLDER_VARIABLE, str(tmp_path) if reader == "folder" else "")
    with configured() as logger:
        logger.getChild("pools").warning("pool away")
    text = (tmp_path / "router.log").read_text() if reader == "folder" else stderr.getvalue()
    found = "json" if text.startswith("{") else "colour" if text.startswith("\x1b") else "text"
    assert found == form
    assert "pool away" in text


@pytest.mark.parametrize(("given", "level"), [("debug", 10), ("", 20), ("WARNING", 30), ("nonsense", 20)])
def test_the_level_is_the_environments(
    given: str, level: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INFO where it says nothing that is known: a wrong word must not end the service."""
    monkeypatch.setenv(logs.LEVEL_VARIABLE, given)
    monkeypatch.setenv(logs.FOLDER_VARIABLE, str(tmp_path))
    with configured() as logger:
        assert logger.level == level
        assert logging.getLogger("opentelemetry").level == max(level, logging.WARNING)


def test_wrong_settings_are_told_before_the_start() -> None:
    """Each with what it may be."""
    assert not list(problems({logs.FORMAT_VARIABLE: "JSON", logs.LEVEL_VARIABLE: "debug"}))
    assert list(problems({logs.FORMAT_VARIABLE: "yaml", logs.LEVEL_VARIABLE: "loud"})) == [
        "SPECROUTE_LOG_FORMAT: 'yaml' is none of auto, json, text",
        "SPECROUTE_LOG_LEVEL: 'loud' is none of DEBUG, INFO, WARNING, ERROR, CRITICAL",
    ]


def test_every_field_is_documented() -> None:
    """In the section about logs."""

    def write() -> str:
        bind("r", "t")
        return written(JsonFormatter("router"), exc_info=failure())

    line = json.loads(copy_context().run(write))
    section = DOCUMENT.partition("\n## Logs\n")[2].partition("\n## ")[0]
    fields = {*line, *(f"error.{name}" for name in line["error"])} - {"error"}
    assert fields == set(re.findall(r"^\| `([\w.]+)` \|", section, flags=re.MULTILINE)) - {
        logs.FORMAT_VARIABLE,
        logs.LEVEL_VARIABLE,
    }

"""The log of our own packages: JSON lines where machines collect it, readable lines where people look.

Every line that is written while a request is answered carries the request's id, and its trace's where there
is one; docs/operations.md describes the fields. Nothing of bodies is logged, and credentials are blotted out.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

FOLDER_VARIABLE = "SPECROUTE_LOG_DIR"
FORMAT_VARIABLE = "SPECROUTE_LOG_FORMAT"
LEVEL_VARIABLE = "SPECROUTE_LOG_LEVEL"

FORMATS: Final = ("auto", "json", "text")
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_PACKAGES: Final = ("router", "replicas", "policies")
_LIBRARIES: Final = ("opentelemetry",)
"""Their warnings are an operator's business: the collector is away, spans are dropped."""
_COLOURS: Final = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}
_PLAIN: Final = "\x1b[0m"
_LONGEST_ERROR: Final = 500
"""Characters of an unexpected exception's text: others wrote it, and it may quote what it was about."""
_MOST_CAUSES: Final = 8
_SHORTEST_SECRET: Final = 6
_SECRET_NAME: Final = re.compile(r"(TOKEN|PASSWORD|SECRET|_KEY)$")
_CREDENTIALS: Final = re.compile(r"(?i)(\b(?:bearer|basic)\s+)[^\s\"',;]{4,}|(://[^/\s:@]*:)[^/\s@]+(?=@)")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class _Request(NamedTuple):
    """What a line says of the request it was written for."""

    request_id: str
    trace_id: str | None


_request: ContextVar[_Request | None] = ContextVar("logged_request", default=None)


def bind(request_id: str, trace_id: str | None = None) -> None:
    """Put these ids on every line that the current task, and those it starts, log from now on.

    Nobody takes them off again: every request has a task of its own.
    """
    _request.set(_Request(request_id, trace_id))


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, process: str, secrets: re.Pattern[str] | None = None) -> None:
        super().__init__()
        self._process = process
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record; see docs/operations.md for its fields."""
        line: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": self._process,
            "pid": record.process,
        }
        if (request := _request.get()) is not None:
            line["request_id"] = request.request_id
            if request.trace_id is not None:
                line["trace_id"] = request.trace_id
        if (found := _error_of(record)) is not None:
            kind, error, _ = found
            line["error"] = {
                "type": f"{kind.__module__}.{kind.__qualname__}",
                "message": _shortened(str(error)),
                "stack": _stack(found),
            }
        return json.dumps(_blotted(line, self._secrets))


class TextFormatter(logging.Formatter):
    """Time, level, who and what; the ids of the request at the end, where the message does not say them."""

    def __init__(self, secrets: re.Pattern[str] | None = None, *, colour: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", datefmt="%H:%M:%S")
        self._secrets = secrets
        self._colour = colour

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the parent's
        """The first line of a record."""
        text = super().formatMessage(record)
        if (request := _request.get()) is not None:
            ids = {"request": request.request_id, "trace": request.trace_id}
            named = [f"{name} {one}" for name, one in ids.items() if one and one not in text]
            text += f" ({', '.join(named)})" if named else ""
        colour = _COLOURS.get(record.levelname) if self._colour else None
        return f"{colour}{text}{_PLAIN}" if colour else text

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the parent's
        """The stack, and what the exception says."""
        kind, error, _ = ei
        return f"{_stack(ei)}\n{kind.__qualname__}: {_shortened(str(error))}"

    def format(self, record: logging.LogRecord) -> str:
        """All lines of a record."""
        record.exc_text = None  # another formatter's
        text = super().format(record)
        record.exc_text = None
        return str(_blotted(text, self._secrets))


def configure_logging(process: str) -> None:
    """Send the log of our packages in this process to `<folder>/<process>.log`; without a folder to stderr.

    `process` names it: `router`, or an engine's profile. The environment says in which form and from which
    level on; values it does not know count as their defaults.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    handler: logging.Handler
    if folder:
        handler = logging.FileHandler(Path(folder) / f"{process}.log", encoding="utf-8", delay=True)
    else:
        handler = logging.StreamHandler()
    terminal = not folder and sys.stderr.isatty()
    wanted = os.environ.get(FORMAT_VARIABLE, "").strip().lower()
    secrets = _secrets(os.environ)
    # `specroute serve` shows a person what is in the folder.
    if wanted == "text" or (wanted != "json" and (folder or terminal)):
        handler.setFormatter(TextFormatter(secrets, colour=terminal))
    else:
        handler.setFormatter(JsonFormatter(process, secrets))
    given = os.environ.get(LEVEL_VARIABLE, "").strip().upper()
    level = logging.getLevelName(given) if given in LEVELS else logging.INFO
    for package in (*_PACKAGES, *_LIBRARIES):
        logger = logging.getLogger(package)
        logger.handlers = [handler]
        logger.setLevel(max(level, logging.WARNING) if package in _LIBRARIES else level)
        logger.propagate = False


def problems(environment: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the settings of the log, a line each."""
    known = {FORMAT_VARIABLE: FORMATS, LEVEL_VARIABLE: LEVELS}
    for name, values in known.items():
        given = environment.get(name, "").strip()
        if given and given.lower() not in {value.lower() for value in values}:
            yield f"{name}: {given[:64]!r} is none of {', '.join(values)}"


def _utc(at_s: float) -> str:
    whole = int(at_s)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((at_s - whole) * 1000):03d}Z"


def _error_of(record: logging.LogRecord) -> ExcInfo | None:
    found = record.exc_info
    return None if not found or found[0] is None else found


def _stack(found: ExcInfo) -> str:
    """Where it was raised and, before that, where its causes were: files, lines and functions, no values."""
    chain: list[str] = []
    error: BaseException | None = found[1]
    while error is not None and len(chain) < _MOST_CAUSES:
        chain.append(f"{type(error).__qualname__} in\n{''.join(traceback.format_tb(error.__traceback__))}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "which led to ".join(reversed(chain)).rstrip()


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}…"


def _secrets(environment: Mapping[str, str]) -> re.Pattern[str] | None:
    """What to blot out: the values of variables that hold credentials, by their names."""
    values = {
        value
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET
    }
    return re.compile("|".join(sorted(map(re.escape, values), key=len, reverse=True))) if values else None


def _blotted(value: Any, secrets: re.Pattern[str] | None) -> Any:
    if isinstance(value, dict):
        return {name: _blotted(one, secrets) for name, one in value.items()}
    if not isinstance(value, str):
        return value
    text = _CREDENTIALS.sub(lambda match: f"{match[1] or match[2]}***", value)
    return secrets.sub("***", text) if secrets else text

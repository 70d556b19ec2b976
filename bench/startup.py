"""How long `specroute serve` takes until it answers: without a prepared model, with one, and without engines.

A start ends when every pool can answer, and a second time when the first answer was there. `--program` adds
another installation's `specroute` (its name and path), so that two versions start in turn in one run. How
long the command line takes to answer `--help` is measured besides.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from bench.endtoend.command import MODEL
from bench.repeated import Measurement, repeated, rows
from bench.results import BenchError, OptionError, Say
from bench.serving import Serving, policy

WARM: Final = "warm"
COLD: Final = "cold"
PRETENDING: Final = "pretending"
KINDS: Final = (WARM, COLD, PRETENDING)
OURS: Final = "this"
_CACHE: Final = "SPECROUTE_CACHE_DIR"
_FAKE: Final = {"fake_engines": {"step_ms": 2, "prefill_ms": 1}}
_ANSWER_S: Final = 300.0


def starts(kinds: Mapping[str, Callable[[], Measurement]], repeats: int, say: Say) -> list[dict[str, Any]]:
    """The times of all kinds of starts, in turn, with ratios to the first kind."""
    return rows(repeated(kinds, repeats, say), base=next(iter(kinds)))


def kinds(
    folder: Path, *, names: tuple[str, ...], programs: Mapping[str, Path], say: Say
) -> dict[str, Callable[[], Measurement]]:
    """Starts by name: of every kind wanted, with this program and with each other one.

    Raises:
        OptionError: A program is not there.
    """
    own = Path(sys.executable).with_name("specroute")
    found: dict[str, Callable[[], Measurement]] = {}
    for kind in names:
        for label, program in {OURS: own, **programs}.items():
            if not program.exists():
                raise OptionError(
                    f"--program: {program} is not there: name the file of a `specroute` command"
                )
            name = kind if label == OURS else f"{kind}, {label}"
            found[name] = partial(_start, folder, kind, program, say)
    return found


def help_s(program: Path | None = None) -> float:
    """Seconds that `specroute --help` takes."""
    began = time.perf_counter()
    command = [str(program or Path(sys.executable).with_name("specroute")), "--help"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def _start(folder: Path, kind: str, program: Path, say: Say) -> Measurement:
    """One start: seconds until it is ready, until it has answered, and until it has ended."""
    say(f"{kind}: starting {program}")
    help_taken = help_s(program)
    place = Path(tempfile.mkdtemp(prefix="start-", dir=folder))
    variables = {_CACHE: str(place / "cache")} if kind == COLD else {}
    args = _FAKE if kind == PRETENDING else {}
    serving = Serving(place, args, policy("startup"), program=program, variables=variables)
    try:
        began = time.perf_counter()
        serving.start()
        serving.wait_until_ready()
        ready_s = time.perf_counter() - began
        _answer(serving.url)
        answered_s = time.perf_counter() - began
        began = time.perf_counter()
        serving.end()
        ended_s = time.perf_counter() - began
    finally:
        serving.end()
        shutil.rmtree(place, ignore_errors=True)
    return {"ready_s": ready_s, "answered_s": answered_s, "ended_s": ended_s, "help_s": help_taken}


def _answer(url: str) -> None:
    body = {"model": MODEL, "prompt": "What follows?", "max_tokens": 8}
    try:
        response = httpx.post(f"{url}/v1/completions", json=body, timeout=_ANSWER_S, trust_env=False)
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise BenchError(f"{url}: no first answer: {error}") from error

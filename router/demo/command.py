"""The steps of `specroute demo`, from options to an exit code."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from replicas.orphans import end_with_parent
from router.cli_output import table_console
from router.demo.client import Service, ServiceError, readiness
from router.demo.figures import REFERENCE_K, figures
from router.demo.learned import learned
from router.demo.own_server import ServerError, own_server
from router.demo.passes import Sender
from router.demo.progress import Reporter, reporter
from router.demo.prompts import Prompt, chosen, load_prompts
from router.demo.rows import PASSES, Row
from router.demo.table import show
from router.serving.config import load_config
from router.serving.launcher import EXIT_WITH_PARENT_VARIABLE
from router.settings import SettingsError

DEFAULT_URL = "http://127.0.0.1:8000"

_OK, _FAILED, _BAD_INPUT, _INTERRUPTED = 0, 1, 2, 130
_STARTING_PATIENCE_S = 300.0


class DemoError(Exception):
    """The demo cannot run; one line that says what to do, and the exit code."""

    def __init__(self, message: str, exit_code: int = _BAD_INPUT) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. `url` None is the default one, or a service of the demo's own."""

    url: str | None
    config: Path | None
    limit: int | None
    seed: int
    as_json: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A finished demo."""

    url: str
    own: bool
    model: str
    rows: list[Row]


def run_demo(options: Options) -> int:
    """Run the demo; returns the exit code."""
    errors = Console(stderr=True, highlight=False)
    if os.environ.get(EXIT_WITH_PARENT_VARIABLE):
        end_with_parent(signal.SIGTERM)
    _end_on_signals()
    prompts = chosen(load_prompts(), limit=options.limit, seed=options.seed)
    try:
        with _service(options, errors) as (url, own):
            run = asyncio.run(_run(url, prompts, own=own, errors=errors))
    except (DemoError, ServerError) as error:
        _say(errors, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say(errors, "stopped")
        return _INTERRUPTED
    _tell(run, prompts, options)
    return _FAILED if any(row.error is not None for row in run.rows) else _OK


@contextmanager
def _service(options: Options, errors: Console) -> Iterator[tuple[str, bool]]:
    """The URL to use, and whether the service behind it is the demo's own."""
    if options.config is not None and options.url is not None:
        raise DemoError("--url uses a running service and --config starts one: give one of the two")
    if options.config is None and (url := _running(options.url, errors)) is not None:
        yield url, False
        return
    try:
        loaded = load_config(options.config)
    except SettingsError as error:
        raise DemoError("; ".join(str(error).splitlines())) from None
    except OSError as error:
        raise DemoError(f"{options.config}: {error.strerror or error}") from None
    _say(errors, "starting a service of its own; it ends with the demo")
    with own_server(options.config, loaded, lambda line: _print(errors, line)) as url:
        yield url, True


def _running(url: str | None, errors: Console) -> str | None:
    """The URL of a service that answers; None when none was named and none is there."""
    wanted = url or DEFAULT_URL
    state = readiness(wanted)
    if state == "starting":
        _say(errors, f"{wanted} is still starting: waiting for it")
        state = readiness(wanted, patience_s=_STARTING_PATIENCE_S)
    if state == "ready":
        return wanted
    if state == "starting":
        raise DemoError(f"{wanted}: no engine is ready; see {wanted}/readyz and the service's log")
    if url is None:
        return None
    raise DemoError(
        f"--url: no specroute answers at {url}: start one with `specroute serve`, or leave --url out"
    )


async def _run(url: str, prompts: list[Prompt], *, own: bool, errors: Console) -> Run:
    with reporter(errors) as screen:
        async with Service(url) as service:
            try:
                model = await service.model()
            except ServiceError as error:
                raise DemoError(str(error), _FAILED) from None
            rows = await _passes(service, model, prompts, screen)
    return Run(url, own, model, rows)


async def _passes(service: Service, model: str, prompts: list[Prompt], screen: Reporter) -> list[Row]:
    sender = Sender(service, model, screen.seen)
    with_vanilla = await sender.honours_overrides(prompts[0])
    if with_vanilla:
        screen.begin("vanilla", 2 * len(prompts))
    rows = []
    for name in PASSES:
        screen.begin(name, len(prompts))
        rows += await sender.send(prompts, name, with_vanilla=with_vanilla)
    return rows


def _tell(run: Run, prompts: list[Prompt], options: Options) -> None:
    greedy = frozenset(prompt.id for prompt in prompts if prompt.temperature == 0)
    result = figures(run.rows, greedy=greedy)
    sentences = learned(result)
    if not options.as_json:
        show(table_console(), result, sentences, run.rows)
        return
    document: dict[str, Any] = {
        "service": {"url": run.url, "own": run.own, "model": run.model},
        "prompts": len(prompts),
        "seed": options.seed,
        "reference_k": REFERENCE_K,
        **asdict(result),
        "learned": sentences,
        "requests": [{**asdict(row), "tpot_s": row.tpot_s} for row in run.rows],
    }
    sys.stdout.write(json.dumps(document) + "\n")


def _end_on_signals() -> None:
    """Lead all ways of asking the demo to end through its clean-up, also for jobs in a shell's background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _as_interrupt)


def _as_interrupt(_signum: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


def _say(console: Console, text: str) -> None:
    _print(console, f"specroute: {text}")


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)

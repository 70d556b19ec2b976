"""The sides as somebody else's client sees them: vLLM's own serving benchmark, streaming.

It is started through its Python entry point (`vllm.benchmarks.serve`) in a process of its own, so that it
neither shares this process's time nor makes this package import vLLM.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from bench.endtoend.journal import Journal
from bench.endtoend.running import Fleets
from bench.endtoend.sides import VANILLA, Side
from bench.endtoend.workload import Workload
from bench.overhead.figures import Interval, interval
from bench.results import BenchError, Say

PROGRAM: Final = """
import sys
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.benchmarks.serve import add_cli_args, main
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args(sys.argv[1:]))
"""
MEASURES: Final = (
    "median_ttft_ms",
    "median_tpot_ms",
    "median_e2el_ms",
    "output_throughput",
    "request_throughput",
)
"""What is taken over from its result, under its names."""
_CLIENTS: Final = 2
_TAIL: Final = 800
_LIMIT_S: Final = 900.0


class Compared(NamedTuple):
    """A row per side, of the repeats in which all of them answered; and whether these are all repeats."""

    rows: list[dict[str, Any]]
    whole: bool


class OutsideClient:
    """Asks `requests` prompts of the workload, the same ones of all sides, by two clients at once."""

    def __init__(
        self,
        journal: Journal,
        folder: Path,
        workload: Workload,
        requests: int,
        *,
        model: str,
        tokenizer: str,
        max_tokens: int,
    ) -> None:
        """Nothing is asked yet. What it needs goes to `folder`; `tokenizer` is the model's folder."""
        self._journal = journal
        self._folder = folder
        self._workload = workload
        self._requests = requests
        self._model = model
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    async def compared(
        self, sides: Sequence[Side], fleets: Fleets, repeats: int, say: Say, *, until_s: float | None = None
    ) -> Compared:
        """What it measures of each side; sides in turn, forwards and backwards, `repeats` times.

        It ends early when the time is up (`until_s`, of `time.monotonic`), and where it ends badly: what it
        had measured by then counts.
        """
        measured: dict[str, list[dict[str, float]]] = {side.name: [] for side in sides}
        for repeat in range(repeats):
            found: dict[str, dict[str, float]] = {}
            for side in sides if repeat % 2 == 0 else sides[::-1]:
                noted = f"outside: {repeat}/{side.name}"
                if noted not in self._journal.notes:
                    if until_s is not None and time.monotonic() >= until_s:
                        return Compared(outside_rows(measured), whole=False)
                    try:
                        self._journal.note(
                            noted, await self._once(await fleets.url(side.fleet), side, repeat)
                        )
                    except BenchError as error:  # hours of our own figures must not be lost to it
                        say(str(error))
                        return Compared(outside_rows(measured), whole=False)
                    say(f"vLLM's serving benchmark: {side.name}, {repeat + 1} of {repeats}")
                found[side.name] = self._journal.notes[noted]
            for name, figures in found.items():
                measured[name].append(figures)
        return Compared(outside_rows(measured), whole=True)

    async def _once(self, url: str, side: Side, repeat: int) -> dict[str, float]:
        self._folder.mkdir(parents=True, exist_ok=True)
        prompts, result = self._folder / f"prompts-{repeat}.json", self._folder / "result.json"
        prompts.write_text(
            json.dumps(conversations(self._workload, self._requests, repeat)), encoding="utf-8"
        )
        result.unlink(missing_ok=True)
        headers = {"X-Specroute-Tenant": side.name, **side.headers}
        words = self.arguments(url, prompts, result, headers)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), _LIMIT_S)
        except TimeoutError:
            raise BenchError(
                f"{side.name}: vLLM's serving benchmark did not end in {_LIMIT_S:.0f} s"
            ) from None
        finally:
            if process.returncode is None:  # we are being stopped
                process.kill()
        if process.returncode or not result.exists():
            said = " ".join(output.decode(errors="replace")[-_TAIL:].split())
            raise BenchError(f"{side.name}: vLLM's serving benchmark failed: {said}")
        found = json.loads(result.read_text(encoding="utf-8"))
        if found["completed"] != self._requests:
            raise BenchError(
                f"{side.name}: vLLM's serving benchmark had {found['completed']} of {self._requests} answered"
            )
        return {measure: float(found[measure]) for measure in MEASURES}

    def arguments(self, url: str, prompts: Path, result: Path, headers: Mapping[str, str]) -> list[str]:
        """Its command line. The tokenizer counts prompts; how many tokens came, the service tells."""
        values = {
            "--backend": "openai-chat",
            "--base-url": url,
            "--endpoint": "/v1/chat/completions",
            "--model": self._model,
            "--tokenizer": self._tokenizer,
            "--dataset-name": "sharegpt",
            "--dataset-path": str(prompts),
            "--num-prompts": str(self._requests),
            "--output-len": str(self._max_tokens),
            "--max-concurrency": str(_CLIENTS),
            "--num-warmups": "2",
            "--temperature": "0",
            "--percentile-metrics": "ttft,tpot,itl,e2el",
            "--result-dir": str(result.parent),
            "--result-filename": result.name,
        }
        words = [word for pair in values.items() for word in pair]
        words += ["--disable-tqdm", "--disable-shuffle", "--save-result", "--header"]
        return words + [f"{name}={value}" for name, value in headers.items()]


def conversations(workload: Workload, requests: int, repeat: int) -> list[dict[str, Any]]:
    """Prompts in ShareGPT's form, tasks in turn; those of several turns cannot be asked."""
    pools = [[p for p in pool if len(p.messages) == 1] for pool in workload.measured.values()]
    taken = []
    for place in range(requests):
        pool = pools[place % len(pools)]
        text = pool[(repeat * requests + place) // len(pools) % len(pool)].messages[0]["content"]
        taken.append({"conversations": [{"value": text}, {"value": ""}]})
    return taken


def outside_rows(measured: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Per side: each measure, and its ratio to that of the plain side in the same repeat; none for none."""
    if not any(measured.values()):
        return []
    base = measured.get(VANILLA)
    found = []
    for side, runs in measured.items():
        row: dict[str, Any] = {"side": side}
        for measure in MEASURES:
            own = np.array([run[measure] for run in runs])
            row[measure] = _medians(own)
            if base and side != VANILLA:
                row[f"ratio_{measure}"] = _medians(own / np.array([run[measure] for run in base]))
        found.append(row)
    return found


def _medians(values: np.ndarray[Any, Any]) -> Interval:
    return interval(values, lambda medians: medians[..., 0])

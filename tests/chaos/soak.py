"""A service on fake engines under steady mixed traffic: does anything grow? `make soak`.

Exit code 1 when memory grows beyond a bound, when open files, processes or tasks are more at the end than at
the start, or when an answer was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import psutil
from numpy.typing import NDArray

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "integration")]

import breaking  # noqa: E402
from services import Service, policy  # noqa: E402
from traffic import Clients  # noqa: E402
from waiting import until_async  # noqa: E402

EVERY_S = 5.0
BLOCKS = 12
SETTLING = 1 / 2
"""Of the time, that is not looked at. The tables of bounded size are full after a few minutes: there are DIFFERENT
questions and strangers, while tables of conversations and of tenants have room for tens of thousands. That those are
bounded where nobody comes twice, `growth.py` shows."""
DIFFERENT = 200
BOUND_KIB_A_MINUTE = 100.0
"""1 GiB in a week."""
SLACK_FILES = 8
SLACK_TASKS = 8
KEPT_TENANTS = 300


class Sample(NamedTuple):
    """The service at one moment."""

    at_s: float
    router_kib: float
    replicas_kib: float
    store_kib: float
    files: int
    threads: int
    processes: int
    tasks: int
    requests: int


class Slope(NamedTuple):
    """KiB a minute, with a 95 % interval."""

    value: float
    low: float
    high: float


def slope(at_s: NDArray[np.float64], kib: NDArray[np.float64]) -> Slope:
    """Theil and Sen: the median of the slopes between all pairs, which a few steps and outliers do not move.

    Of the means of BLOCKS blocks, since neighbouring samples are not independent. The interval is Sen's, by
    the normal approximation of Kendall's statistic.
    """
    blocks = list(zip(np.array_split(at_s / 60, BLOCKS), np.array_split(kib, BLOCKS), strict=True))
    x = np.array([block.mean() for block, _ in blocks])
    y = np.array([block.mean() for _, block in blocks])
    first, second = np.triu_indices(BLOCKS, 1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    spread = 1.96 * math.sqrt(BLOCKS * (BLOCKS - 1) * (2 * BLOCKS + 5) / 18)
    low, high = round((len(slopes) - spread) / 2), round((len(slopes) + spread) / 2)
    return Slope(float(np.median(slopes)), float(slopes[low]), float(slopes[min(high, len(slopes) - 1)]))


def own_kib(processes: Sequence[psutil.Process]) -> float:
    """Resident memory that is nobody's but theirs, in KiB.

    Pages of libraries and of other files are left out: they are counted once touched, and dropped where the
    machine is short of memory, whatever the process does.
    """
    memory = [process.memory_info() for process in processes]
    return sum(one.rss - one.shared for one in memory) / 1024


class Watch:
    """Takes samples of a running service."""

    def __init__(self, service: Service, clients: Clients) -> None:
        found = service.processes()
        self._service = service
        self._clients = clients
        self._router = breaking.replicas(found, "router")
        self._replicas = [p for name in ("vanilla", "ngram") for p in breaking.replicas(found, name)]
        # Valkey writes its title over its environment, which holds the run's mark.
        self._store = [child for router in self._router for child in router.children(recursive=True)]
        self._started_s = time.monotonic()

    async def sample(self, http: httpx.AsyncClient) -> Sample:
        """Look at the service now."""
        metrics = (await http.get("/metrics")).text
        tasks = next(
            line.split()[-1]
            for line in metrics.splitlines()
            if line.startswith("specroute_event_loop_tasks ")
        )
        return Sample(
            at_s=time.monotonic() - self._started_s,
            router_kib=own_kib(self._router),
            replicas_kib=own_kib(self._replicas),
            store_kib=own_kib(self._store),
            files=sum(process.num_fds() for process in self._router),
            threads=sum(process.num_threads() for process in self._router),
            processes=len(await asyncio.to_thread(self._service.processes)),
            tasks=int(float(tasks)),
            requests=self._clients.tally.requests,
        )


async def quiet_sample(watch: Watch, http: httpx.AsyncClient) -> Sample:
    """A sample when nothing is in flight any more."""

    async def idle() -> bool:
        return all(pool["in_flight"] == 0 for pool in (await breaking.pools(http)).values())

    await until_async(idle, 60)
    await asyncio.sleep(3.0)
    return await watch.sample(http)


async def soak(service: Service, minutes: float, rate: float, log: Path | None) -> dict[str, Any]:
    """Run traffic for so long; the report."""
    clients = Clients(
        service.url,
        at_once=24,
        tenants=[f"tenant-{number}" for number in range(KEPT_TENANTS // 2)],
        strangers=0.2,
        rate=rate,
        different=DIFFERENT,
    )
    samples: list[Sample] = []
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as http:
        watch = Watch(service, clients)
        start = await quiet_sample(watch, http)
        until_s = time.monotonic() + minutes * 60
        async with clients:
            while time.monotonic() < until_s:
                await asyncio.sleep(min(EVERY_S, max(0.0, until_s - time.monotonic())))
                samples.append(await watch.sample(http))
                if log is not None:
                    with log.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(samples[-1]._asdict()) + "\n")
        end = await quiet_sample(watch, http)
    return report(start, samples, end) | {"traffic": clients.tally.report()}


def report(start: Sample, samples: Sequence[Sample], end: Sample) -> dict[str, Any]:
    """What the samples say."""
    late = [sample for sample in samples if sample.at_s >= samples[-1].at_s * SETTLING]
    if len(late) < 2 * BLOCKS:
        raise SystemExit(f"soak: {len(samples)} samples are too few for a slope: give it 7 minutes or more")
    at_s = np.array([sample.at_s for sample in late])
    slopes = {
        part: slope(at_s, np.array([getattr(sample, f"{part}_kib") for sample in late]))
        for part in ("router", "replicas", "store")
    }
    return {
        "minutes": round(samples[-1].at_s / 60, 1),
        "requests": end.requests,
        "kib_a_minute": {part: [round(number, 1) for number in found] for part, found in slopes.items()},
        "start": _rounded(start),
        "end": _rounded(end),
    }


def _rounded(sample: Sample) -> dict[str, int]:
    return {name: round(value) for name, value in sample._asdict().items()}


def failures(found: Mapping[str, Any]) -> list[str]:
    """A line for everything that grew or was wrong."""
    lines = [
        f"{part} grows by {value} KiB a minute, at least {low}; allowed are {BOUND_KIB_A_MINUTE:g}"
        for part, (value, low, _) in found["kib_a_minute"].items()
        if low > BOUND_KIB_A_MINUTE
    ]
    slack = {"files": SLACK_FILES, "tasks": SLACK_TASKS, "processes": 0}
    lines += [
        f"{name}: {found['start'][name]} at the start, {found['end'][name]} at the end"
        for name, more in slack.items()
        if found["end"][name] > found["start"][name] + more
    ]
    return lines + list(found["traffic"]["complaints"])


def main() -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second")
    parser.add_argument("--samples", type=Path, help="a file for the samples, one JSON object a line")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="specroute-soak-") as name:
        folder = Path(name)
        file = folder / "policy.yaml"
        file.write_text(policy("soak"))
        service = Service(
            folder / "service",
            fake_engines={"step_ms": 5, "prefill_ms": 5},
            policy={"path": str(file)},
            tenancy={"trusted_header": True, "max_tenants": KEPT_TENANTS},
        )
        service.wait_until_ready()
        try:
            found = asyncio.run(soak(service, given.minutes, given.rate, given.samples))
        finally:
            service.end(signal.SIGINT, group=True)
        remains = service.remains()
    print(json.dumps(found, indent=1))
    wrong = failures(found) + [f"left behind: {line}" for line in remains]
    for line in wrong:
        print(f"soak: {line}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())

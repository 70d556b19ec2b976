"""Whether costs grow with what is served: routers side by side, and tenants in one router.

Routers run as `specroute serve` on engines that pretend, all at once on the same machine; each service is
asked in turn. On a machine with few cores more routers cannot answer more: what shows that they scale is that
the processor time per request stays where it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.decision import measured
from bench.overhead.client import AnswerError, ask_all
from bench.overhead.processors import processor_seconds
from bench.repeated import Measurement, repeated, rows
from bench.results import BenchError, Say
from bench.serving import Serving, policy
from bench.store_costs import valkey

_CHUNKS: Final = 8
_SETTLE_S: Final = 0.25
_SLOTS: Final = 256


def tenants(counts: Sequence[int], *, decisions: int, repeats: int, say: Say) -> list[dict[str, Any]]:
    """What decisions cost in a router that knows so many tenants, with ratios to the fewest."""
    sides = {str(count): partial(measured, decisions, tenants=count) for count in sorted(counts)}
    return rows(repeated(sides, repeats, say), base=str(min(counts)))


def routers(
    counts: Sequence[int], folder: Path, *, clients: int, requests: int, repeats: int, say: Say
) -> list[dict[str, Any]]:
    """Requests per second and processor time per request with so many routers, with ratios to the fewest.

    Raises:
        BenchError: A service does not start, or answers with something else than a stream.
    """
    with _services(sorted(counts), folder, say) as services:
        sides = {
            str(count): partial(_asked, serving, clients, requests) for count, serving in services.items()
        }
        for ask in sides.values():
            ask()  # warms up
        return rows(repeated(sides, repeats, say), base=str(min(counts)))


@contextmanager
def _services(counts: Sequence[int], folder: Path, say: Say) -> Iterator[Mapping[int, Serving]]:
    """All at once; each has a store of its own beside it, since several routers must share one."""
    with ExitStack() as stack:
        started = {}
        for count in counts:
            say(f"starting {count} router{'s' * (count > 1)}")
            args = arguments(count, stack.enter_context(valkey()).url)
            serving = started[count] = Serving(folder / str(count), args, policy("scaling"))
            stack.callback(serving.end)
            serving.start()
            serving.wait_until_ready()
        yield started


def arguments(count: int, store_url: str) -> dict[str, Any]:
    """The deployment: two pools whose steps take no time, so that the routers are what is waited for."""
    return {
        "store": {"url": store_url},
        "fake_engines": {"step_ms": 0.1, "prefill_ms": 0.1, "coverage": 0},
        "profiles": [
            {"name": "vanilla", "max_num_seqs": _SLOTS},
            {"name": "ngram", "method": "ngram", "k": 8, "max_num_seqs": _SLOTS},
        ],
        "routers": count,
    }


def _asked(serving: Serving, clients: int, requests: int) -> Measurement:
    roots = {"all": serving.pid}
    before, began = processor_seconds(roots), time.perf_counter()
    asking = ask_all(serving.port, clients=clients, requests=requests, chunks=_CHUNKS, number=1)
    try:
        answers = asyncio.run(asking)
    except (AnswerError, OSError) as error:
        raise BenchError(f"{serving.url}: {error}") from error
    seconds = time.perf_counter() - began
    time.sleep(_SETTLE_S)  # what is written down afterwards belongs to them
    taken = processor_seconds(roots)["all"] - before["all"]
    return {
        "requests_per_s": len(answers) / seconds,
        "cpu_ms_per_request": 1e3 * taken / len(answers),
        "total_p50_ms": 1e3 * median(answer.total_s for answer in answers),
    }

"""Compares ways to do the same thing in one process, on a machine that does other things besides."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, NamedTuple

import numpy as np

_RESAMPLES = 2000


class Variant(NamedTuple):
    """One way to do it."""

    ask: Callable[[], Any]
    """Does it once; to be awaited."""
    close: Callable[[], None]


async def compared(
    variants: dict[str, Variant], rounds: int, requests: int, *, base: str = "off"
) -> dict[str, dict[str, Any]]:
    """CPU time of each variant per request, and its ratio to `base`: median, and 95 % interval of that.

    Variants take turns within every round, in an order drawn anew, and each is compared with `base` of the
    same round, so that what else the machine does falls on all of them alike. `ratio` is of the thread that
    answers, `process` of all threads.
    """
    rng = Random(1)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for number in range(-2, rounds):  # the first two warm up
        for name in rng.sample(list(variants), len(variants)):
            thread, process = time.thread_time(), time.process_time()
            for _ in range(requests):
                await variants[name].ask()
            if number >= 0:
                taken[name].append(
                    (
                        (time.thread_time() - thread) / requests,
                        (time.process_time() - process) / requests,
                    )
                )
    basis = np.array(taken[base])
    rows = {}
    for name, times in taken.items():
        ratios = np.array(times) / basis
        rows[name] = {
            "us": float(np.median(np.array(times)[:, 0])) * 1e6,
            "ratio": _interval(ratios[:, 0]),
            "process": _interval(ratios[:, 1]),
        }
    return rows


def _interval(ratios: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float, float]:
    """The median, and where 95 % of the medians of resampled rounds are."""
    draws = np.random.default_rng(1).choice(ratios, (_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def _shown(value: Any) -> str:
    """A figure, or one with its interval."""
    if isinstance(value, tuple):
        return f"{value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]"
    return f"{value:.1f}"


def run(description: str, measured: Callable[[int, int], Awaitable[dict[str, dict[str, Any]]]]) -> int:
    """The command of a comparison: `measured` gets rounds and requests, its rows are printed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--requests", type=int, default=50, help="per variant and round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    async def rows() -> dict[str, dict[str, Any]]:
        return await measured(options.rounds, options.requests)

    found = asyncio.run(rows())
    if options.json:
        print(json.dumps(found))
        return 0
    for name, row in found.items():
        print(f"{name:22s} " + "  ".join(f"{key} {_shown(value)}" for key, value in row.items()))
    return 0

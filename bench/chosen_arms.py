"""After some traffic: the arm the router chose for each task, and whether the other route would be faster.

First `--warm-up` requests of all tasks in turn, two at a time, so that the router learns. Then each prompt is
asked twice, one after the other and each first in turn: once as the router decides, and once on the other
route (plainly where it speculated, at the best k where it did not); `--rounds` times over. The service's
policy must say `allow_overrides: true`. Prints a line per task with the ratio of the times per output token
and its 90 % interval (bootstrap over prompts), or JSON Lines.

    python -m bench.chosen_arms --warm-up 300 --per-task 8 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, cycle, islice, product, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np

from bench.routes_by_task import prompts_by_task

Ask = Callable[..., dict[str, Any]]

_RESAMPLES = 4000


class Pair(NamedTuple):
    """One prompt, as decided and on the other route: its number and the details of both answers."""

    prompt: int
    decided: dict[str, Any]
    other: dict[str, Any]


def main() -> int:
    """Warm up, measure and print; 1 when a chosen arm is slower than the other route, with confidence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--prompts", type=Path, help="JSON Lines with task and messages")
    parser.add_argument("--per-task", type=int, default=8)
    parser.add_argument("--warm-up", type=int, default=300, help="requests before anything is measured")
    parser.add_argument("--rounds", type=int, default=1, help="pairs of answers per prompt")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    prompts = prompts_by_task(options.prompts, options.per_task)
    with httpx.Client(base_url=options.url, timeout=300) as client:
        model = client.get("/v1/models").json()["data"][0]["id"]

        def ask(task: str, messages: Any, route: str = "auto") -> dict[str, Any]:
            headers = {"X-Specroute-Details": "1", "X-Specroute-Task": task, "X-Specroute-Route": route}
            body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": options.max_tokens}
            response = client.post("/v1/chat/completions", json=body, headers=headers)
            response.raise_for_status()
            details: dict[str, Any] = response.json()["specroute"]
            return details

        warm_up(ask, prompts, options.warm_up)
        slower = False
        for task, of_task in prompts.items():
            row = summary(task, compared(ask, task, of_task, options.rounds))
            slower |= row["ratio_low"] is not None and row["ratio_low"] > 1.0
            print(json.dumps(row) if options.json else _words(row), flush=True)
    return int(slower)


def warm_up(ask: Ask, prompts: dict[str, list[Any]], requests: int) -> None:
    """Let the router decide, and learn, over all tasks in turn."""
    columns = [[(task, messages) for messages in of_task] for task, of_task in prompts.items()]
    mixed = [pair for pair in chain.from_iterable(zip_longest(*columns)) if pair is not None]
    with ThreadPoolExecutor(2) as threads:
        for number, _ in enumerate(threads.map(lambda pair: ask(*pair), islice(cycle(mixed), requests)), 1):
            if sys.stderr.isatty():
                print(f"\rwarming up: {number}/{requests}", end="", file=sys.stderr)


def compared(ask: Ask, task: str, prompts: Sequence[Any], rounds: int = 1) -> list[Pair]:
    """Every prompt as decided and on the other route; what was decided by chance is asked again."""
    route = _decided(ask, task, prompts[0])["route"]
    pairs = []
    for turn, (number, messages) in product(range(rounds), enumerate(prompts)):
        other = "vanilla" if route == "speculative" else "speculative"
        if (turn + number) % 2:
            forced = ask(task, messages, other)
            decided = _decided(ask, task, messages)
        else:
            decided = _decided(ask, task, messages)
            other = "vanilla" if decided["route"] == "speculative" else "speculative"
            forced = ask(task, messages, other)
        if forced["reason"] != "override":
            raise SystemExit("the service does not honour X-Specroute-Route: set allow_overrides: true")
        if decided["route"] != forced["route"]:
            pairs.append(Pair(number, decided, forced))
        route = decided["route"]
    return pairs


def _decided(ask: Ask, task: str, messages: Any) -> dict[str, Any]:
    while (details := ask(task, messages))["reason"] in {"exploration", "holdout"}:
        pass
    return details


def summary(task: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    """The chosen arm, and the ratio of its time per output token to the other route's with its interval.

    The ratio is that of the sums over prompts, each with the mean of its rounds: rounds take out the noise of
    the machine, and only other prompts tell about other prompts. Answers of one token have no time per token
    and do not count.
    """
    usable = [
        pair for pair in pairs if min(pair.decided["completion_tokens"], pair.other["completion_tokens"]) > 1
    ]
    arms = Counter((pair.decided["profile"], pair.decided["k"]) for pair in pairs)
    reasons = Counter(pair.decided["reason"] for pair in pairs)
    (profile, k), _ = arms.most_common(1)[0] if arms else (("-", 0), 0)
    row: dict[str, Any] = {
        "task": task,
        "prompts": len({pair.prompt for pair in usable}),
        "profile": profile,
        "k": k,
        "route": "speculative" if k else "vanilla",
        "reason": reasons.most_common(1)[0][0] if reasons else None,
        "alpha": pairs[-1].decided["alpha"] if pairs else None,
        "ratio": None,
        "ratio_low": None,
        "ratio_high": None,
    }
    if usable:
        rounds = defaultdict(list)
        for pair in usable:
            rounds[pair.prompt].append((_tpot_s(pair.decided), _tpot_s(pair.other)))
        times = np.array([np.mean(of_prompt, axis=0) for of_prompt in rounds.values()])
        rng = np.random.default_rng(1)
        sums = times[rng.integers(0, len(times), (_RESAMPLES, len(times)))].sum(axis=1)
        low, high = np.quantile(sums[:, 0] / sums[:, 1], [0.05, 0.95])
        total = times.sum(axis=0)
        row |= {"ratio": float(total[0] / total[1]), "ratio_low": float(low), "ratio_high": float(high)}
    return row


def _tpot_s(details: dict[str, Any]) -> float:
    tokens: int = details["completion_tokens"]
    return float(details["measured_s"]) / (tokens - 1)


def _words(row: dict[str, Any]) -> str:
    arm = f"{row['profile']} k={row['k']}"
    alpha = "   -" if row["alpha"] is None else f"{row['alpha']:.2f}"
    ratio = (
        "-"
        if row["ratio"] is None
        else (f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})")
    )
    return (
        f"{row['task']:14s} {arm:14s} {row['reason'] or '-':12s} alpha {alpha}  "
        f"{row['prompts']:2d} prompts  TPOT chosen / other route {ratio}"
    )


if __name__ == "__main__":
    sys.exit(main())

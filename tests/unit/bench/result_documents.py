"""A small result of every bench, as its file holds it."""

from __future__ import annotations

import json
from typing import Any

from bench.endtoend.claims import claims
from bench.endtoend.figures import Measured, Objective, figures
from bench.results import Recording

INTERVAL = [2.0, 1.5, 2.5]
BYTES = [2e7, 1e7, 3e7]


def end_to_end(blocks: list[Measured]) -> dict[str, Any]:
    """Made of these blocks."""
    settings = {
        "profiles": [{"method": "ngram", "k": 8}],
        "topology": "both",
        "topology_because": "as asked for",
        "warm_up": 10,
        "max_tokens": 64,
        "temperature": 0.8,
        "objective": [2.0, 0.2],
        "repeats": 3,
    }
    found = figures(blocks, Objective())
    outside = [{"side": "adaptive", "median_ttft_ms": INTERVAL, "ratio_median_e2el_ms": INTERVAL}]
    document = Recording("end-to-end", settings).document(
        {
            "rate": 1.5,
            "failed": {"threshold": "it does not start"},
            **found,
            "claims": claims(found),
            "outside": outside,
        }
    )
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]


def others() -> dict[str, dict[str, Any]]:
    """Of all other benches, by name."""
    place = {"chunks": 8, "clients": 1}
    figures_of = {
        "overhead": {
            "load": {"repeats": 5, "step_ms": 5.0},
            "not_installed": ["litellm"],
            "failed": {"vllm-router": "it did not start"},
            "cells": [
                {**place, "side": "direct", "total_ms": INTERVAL, "cpu_ms": INTERVAL},
                {
                    **place,
                    "side": "specroute",
                    "total_ms": INTERVAL,
                    "cpu_ms": INTERVAL,
                    "added_total_ms": INTERVAL,
                    "added_first_ms": INTERVAL,
                    "added_cpu_ms": INTERVAL,
                },
            ],
            "comparisons": [
                {**place, "to": "bare-serve", "added_total_ms": INTERVAL, "added_first_ms": None}
                | {"added_cpu_ms": INTERVAL, "total_ms": INTERVAL}
            ],
        },
        "decision": {
            "decision": [{"side": "adaptive", "decisions_per_s": [3000.0, 2900.0, 3100.0]}],
            "classification": [{"side": "own prompts", "classification_p50_us": INTERVAL}],
        },
        "store": {
            "flush": [{"side": "50", "router_us_per_request": INTERVAL}],
            "memory": [
                {"side": "10", "store_bytes": BYTES, "router_bytes": BYTES, "beliefs_bytes": BYTES}
                | {"read_s": INTERVAL}
            ],
        },
        "scaling": {
            "tenants": [
                {"side": "10", "decision_p50_us": INTERVAL},
                {"side": "100", "decision_p50_us": INTERVAL, "ratio_decision_p50_us": INTERVAL},
            ],
            "routers": [{"side": "1", "requests_per_s": INTERVAL, "cpu_ms_per_request": INTERVAL}],
        },
        "startup": {"starts": [{"side": "warm", "ready_s": INTERVAL}]},
    }
    return {name: Recording(name, {}).document(found) for name, found in figures_of.items()}

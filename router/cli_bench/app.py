"""`specroute bench`: what its commands are called."""

from __future__ import annotations

import typer

from router.cli_lazy import MARKDOWN, Lazy, lazy_group

_LAZY = {
    "end-to-end": Lazy(
        "router.cli_bench.end_to_end",
        "end_to_end",
        "Compare plain, statically speculative and routed answers on real engines, side by side.",
    ),
    "overhead": Lazy(
        "router.cli_bench.parts",
        "overhead",
        "Measure what the router adds to a request, beside bare Ray Serve and other routers.",
    ),
    "decision": Lazy(
        "router.cli_bench.parts",
        "decision",
        "Measure decisions per second and core, and what classification takes.",
    ),
    "store": Lazy(
        "router.cli_bench.parts",
        "store",
        "Measure what a flush of statistics costs per request, and what cells take in memory.",
    ),
    "scaling": Lazy(
        "router.cli_bench.parts",
        "scaling",
        "Measure whether costs grow with tenants, and with routers side by side.",
    ),
    "startup": Lazy(
        "router.cli_bench.parts",
        "startup",
        "Measure how long the service takes until it answers, with and without a prepared model.",
    ),
    "all": Lazy(
        "router.cli_bench.every",
        "every",
        "Run all benches one after the other, with their defaults.",
    ),
    "report": Lazy(
        "router.cli_bench.report",
        "report",
        "Make the figures of README.md and docs anew from the result files.",
    ),
}

app = typer.Typer(
    cls=lazy_group(_LAZY),
    no_args_is_help=True,
    add_completion=False,
    **MARKDOWN,
)


@app.callback()
def bench() -> None:
    """Measure this router beside what it stands against.

    Every bench runs its sides in turn in one run, several times, and writes medians, ratios and their 95 %
    intervals to a JSON file in the folder of --out, with versions and the machine. Let nothing else run.

    For example:

    - `specroute bench decision --repeats 3`
    - `specroute bench end-to-end --budget 120`
    - `specroute bench report`
    """

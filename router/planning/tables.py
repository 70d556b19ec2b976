"""Plans as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from policies.planning.gpus import CPU

Plan = Mapping[str, Any]
_PARTS = (
    ("weights", "weights_gib"),
    ("drafter", "draft_weights_gib"),
    ("activations", "activations_gib"),
    ("runtime", "runtime_gib"),
    ("KV cache", "kv_gib"),
)


def show_pair(plan: Plan, console: Console) -> None:
    """Print the plan of a pair."""
    for part in _pair(plan):
        console.print(part, soft_wrap=isinstance(part, Text))


def show_deployment(profiles: Sequence[Plan], console: Console) -> None:
    """Print the plan of every profile."""
    table = Table(box=box.SIMPLE_HEAD, title="Memory in GiB, on each GPU", title_justify="left")
    for name in ("profile", "drafter", "GPU", "weights", "with drafter", "rest", "KV cache", "needed"):
        table.add_column(name, justify="left" if name in {"profile", "drafter", "GPU"} else "right")
    table.add_column("requests", justify="right")
    table.add_column("")
    for one in profiles:
        memory = one["memory"]
        table.add_row(
            one["profile"],
            one["drafter"] or one["method"],
            "CPU" if one["gpu"]["name"] == CPU else f"{one['gpus_per_engine']:g} x {one['gpu']['name']}",
            f"{memory['weights_gib']:.1f}",
            f"{memory['weights_gib'] + memory['draft_weights_gib']:.1f}",
            f"{memory['activations_gib'] + memory['runtime_gib']:.1f}",
            f"{memory['kv_gib']:.1f}",
            f"{memory['needed_gib']:.1f}",
            f"{memory['requests_held']:,}",
            _verdict(one["ok"]),
        )
    console.print(table)
    for one in profiles:
        load, held = one["load"], one["memory"]["requests_held"]
        console.print(
            Text(
                f"{one['profile']}: holds {held:,} request{'' if held == 1 else 's'} of {load['context']:,} "
                f"tokens; with all {one['max_num_seqs']} at once, {one['tokens_each_at_max_num_seqs']:,} each"
            ),
            soft_wrap=True,
        )
    on_gpus = sum(one["engines"] * one["gpus_per_engine"] for one in profiles if one["gpu"]["name"] != CPU)
    if on_gpus:
        console.print(Text(f"{on_gpus:g} GPUs in all"))
    for one in profiles:
        _lines(console, "problem", one["problems"])
        _lines(console, "warning", one["warnings"])


def _pair(plan: Plan) -> Iterator[RenderableType]:
    target, drafter, gpu, load = plan["target"], plan["drafter"], plan["gpu"], plan["load"]
    chosen = ", the smallest that does" if gpu["chosen"] and plan["memory"]["fits"] else ""
    yield Text(f"target   {_model(target)}")
    if drafter is not None:
        yield Text(f"drafter  {_model(drafter)}" if drafter["parameters"] else f"drafter  {drafter['name']}")
    where = "this machine" if gpu["name"] == CPU else f"{gpu['count']} x {gpu['name']}"
    yield Text(f"on       {where} ({gpu['memory_gib']} GiB){chosen}")
    yield Text(f"load     {load['concurrency']} requests at once, each of {load['context']:,} tokens")
    if plan["plain_step_ms"] is not None:
        yield Text(f"step     {plan['plain_step_ms']} ms at least for a plain one at this load")
    yield _memory(plan)
    yield _placements(plan["placements"])
    if drafter is not None:
        yield Text(f"size        {plan['size']['words']}")
    if plan["tokenizer"] is not None:
        yield Text(f"tokenizer   {_tokenizer(plan['tokenizer'])}")
    if plan["gains"]:
        yield _gains(plan)
    for word, key in (("problem", "problems"), ("warning", "warnings"), ("assumed", "assumptions")):
        for line in plan[key]:
            yield Text(f"{word}: {line}")
    yield Text("fits" if plan["ok"] else "does not work as asked")


def _model(model: Plan) -> str:
    return f"{model['name']}: {model['parameters'] / 1e9:.3g} B parameters in {model['precision']}"


def _memory(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Memory in GiB, on each GPU", title_justify="left")
    table.add_column("")
    with_drafter, without = plan["memory"], plan["memory_without_drafter"]
    columns = (
        [("plain", without)]
        if plan["drafter"] is None
        else [("speculative", with_drafter), ("plain", without)]
    )
    for name, _memory in columns:
        table.add_column(name, justify="right")
    for name, key in _PARTS:
        table.add_row(name, *(f"{memory[key]:.2f}" for _, memory in columns))
    table.add_row("  needed by the load", *(f"{memory['needed_gib']:.2f}" for _, memory in columns))
    table.add_row("  bytes per token", *(f"{memory['kv_bytes_per_token']:,}" for _, memory in columns))
    table.add_row("  tokens it holds", *(f"{memory['kv_capacity_tokens']:,}" for _, memory in columns))
    table.add_row("  requests it holds", *(f"{memory['requests_held']:,}" for _, memory in columns))
    return table


def _placements(placements: Sequence[Plan]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Where it can run", title_justify="left")
    for name in ("GPUs", "requests", "", "placement"):
        table.add_column(name, justify="left" if name in {"", "placement"} else "right")
    for one in placements:
        table.add_row(str(one["gpus"]), f"{one['requests_held']:,}", _verdict(one["fits"]), one["words"])
    return table


def _gains(plan: Plan) -> Table:
    gains = plan["gains"]
    table = Table(
        box=box.SIMPLE_HEAD,
        title="Expected speedup of one request alone (at load); break-even is the alpha where it is 1",
        title_justify="left",
    )
    table.add_column("k", justify="right")
    table.add_column("c", justify="right")
    for one in gains[0]["speedups"]:
        table.add_column(f"alpha {one['alpha']:g}", justify="right")
    table.add_column("break-even", justify="right")
    for gain in gains:
        cells = (f"{one['alone']:.2f} ({one['at_load']:.2f})" for one in gain["speedups"])
        even = f"{_alpha(gain['break_even_alpha'])} ({_alpha(gain['break_even_alpha_at_load'])})"
        table.add_row(str(gain["k"]), f"{gain['draft_cost']:.3f}", *cells, even)
    return table


def _tokenizer(compared: Plan) -> str:
    if compared["compatible"] is None or not compared["needed"]:
        return f"not checked: {'; '.join(compared['notes']) or 'not asked for'}"
    if compared["compatible"]:
        return f"the same: {compared['tokens']:,} tokens and {compared['texts']} texts compared"
    return "differs, see below"


def _alpha(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}"


def _verdict(ok: bool) -> Text:
    return Text("fits", "green") if ok else Text("does not fit", "red")


def _lines(console: Console, word: str, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(Text(f"{word}: {line}"), soft_wrap=True)

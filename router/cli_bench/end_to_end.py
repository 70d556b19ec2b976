"""`specroute bench end-to-end`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from router.cli_bench.common import OUT, REPEATS, AsJson, Out, Repeats, counts, kept, names, say
from router.cli_policy.files import bad_input

_STOPPED: Final = 1


def end_to_end(  # noqa: PLR0917 - an option each
    budget: Annotated[
        float | None,
        typer.Option(
            min=0, help="Stop after so many minutes; the same command then goes on.", metavar="MINUTES"
        ),
    ] = None,
    loads: Annotated[
        str,
        typer.Option(
            help="closed-N: N clients; open-S: Poisson arrivals at S of what two plain engines can do."
        ),
    ] = "closed-2,closed-16,open-0.5,open-0.8",
    sides: Annotated[
        str | None, typer.Option(help="Only these sides beside vanilla, separated by commas [default: all].")
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Only these tasks, separated by commas [default: all].")
    ] = None,
    ks: Annotated[str, typer.Option(help="The static k, as far as a drafter goes to them.")] = "2,4,8",
    per_task: Annotated[int, typer.Option(min=1, help="Prompts of each task in a block.")] = 2,
    max_tokens: Annotated[int, typer.Option(min=2, help="Longest answer.")] = 64,
    temperature: Annotated[float, typer.Option(min=0.01, max=2, help="Of sampled answers.")] = 0.8,
    warm_up: Annotated[int, typer.Option(min=0, help="Requests that sides which learn see before.")] = 240,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="A drafting profile, as JSON; given twice, the sides that decide have an engine of each "
            '[default: {"method": "ngram", "k": 8}].'
        ),
    ] = None,
    table: Annotated[
        str, typer.Option(help="vLLM's table: from-to:k of batch sizes, separated by commas.")
    ] = "1-2:8,3-4:4,5-16:2",
    topology: Annotated[
        str | None,
        typer.Option(
            help="Engines of the sides that decide: `both` draft, `mixed`, or one of `each` of two drafters "
            "[default: by the drafters]."
        ),
    ] = None,
    resident: Annotated[
        int | None, typer.Option(min=1, help="Pairs of engines kept at once [default: as memory allows].")
    ] = None,
    spec_bench: Annotated[Path | None, typer.Option(help="Rows of Spec-Bench, JSON Lines.")] = None,
    outside: Annotated[
        int,
        typer.Option(min=0, help="Requests that vLLM's own serving benchmark sends to each side; 0: none."),
    ] = 32,
    fake_engines: Annotated[
        bool, typer.Option("--fake-engines", help="Engines that pretend, to try the bench itself.")
    ] = False,
    work: Annotated[
        Path | None, typer.Option(help="Folder of unfinished runs [default: in the cache folder].")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an unfinished run.")] = False,
    name: Annotated[str, typer.Option(help="Name of the result file.")] = "end-to-end",
    repeats: Repeats = REPEATS,
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Compare plain, statically speculative and routed answers on real engines, side by side.

    Every side has two engines. Runs go on where they stopped, in repeats too. Exit code 1: not finished.

    For example:

    - `specroute bench end-to-end --budget 120 --spec-bench spec_bench.jsonl`
    - `specroute bench end-to-end --profile '{"method": "eagle3", "k": 4, "draft_model": "runs/d/drafter"}'
      --ks 1,2,4 --name end-to-end-eagle3`
    - `specroute bench end-to-end --profile '{"method": "ngram", "k": 8}' --profile
      '{"method": "eagle3", "k": 4, "draft_model": "embedded"}' --loads closed-1 --name end-to-end-drafters`
    """
    from bench.endtoend.command import NGRAM, Options, run_end_to_end  # noqa: PLC0415 - keeps --help quick
    from bench.endtoend.sides import TOPOLOGIES  # noqa: PLC0415
    from replicas.model_store import ModelStoreError, default_cache_dir, prepare  # noqa: PLC0415

    if topology is not None and topology not in TOPOLOGIES:
        raise bad_input(f"--topology: {topology}: write {', '.join(TOPOLOGIES[:-1])} or {TOPOLOGIES[-1]}")
    try:
        tokenizer = str(prepare(default_cache_dir(), progress=lambda *_: None)) if outside else ""
    except ModelStoreError as error:
        raise bad_input(f"{error}; or leave the outside client out: --outside 0") from None
    options = Options(
        repeats=repeats,
        budget_s=None if budget is None else 60 * budget,
        loads=names(loads),
        sides=names(sides),
        tasks=names(tasks),
        ks=tuple(counts(ks, "--ks")),
        per_task=per_task,
        max_tokens=max_tokens,
        temperature=temperature,
        warm_up=warm_up,
        profiles=tuple(profile or [json.dumps(NGRAM)]),
        table=_table(table),
        topology=topology,
        resident=resident,
        spec_bench=None if spec_bench is None else str(spec_bench),
        outside_requests=outside,
        tokenizer=tokenizer,
        fake_engines=fake_engines,
    )
    folder = work or default_cache_dir() / "bench"
    finished = True

    def run() -> dict[str, Any]:
        nonlocal finished
        document, finished = run_end_to_end(options, folder, say, fresh=fresh)
        return document

    kept(name, out, run, as_json=as_json)
    if not finished:
        say("not finished: the same command goes on")
        raise typer.Exit(_STOPPED)


def _table(text: str) -> tuple[tuple[int, int, int], ...]:
    """`1-2:8,3-16:2` as (from, to, k)."""
    try:
        entries = []
        for part in names(text):
            sizes, _, k = part.partition(":")
            first, _, last = sizes.partition("-")
            entries.append((int(first), int(last), int(k)))
    except ValueError:
        raise bad_input(f"--table: {text}: write entries like 1-2:8, separated by commas") from None
    return tuple(entries)

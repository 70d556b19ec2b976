"""The end-to-end bench as a whole: from options to a document."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from bench.endtoend.answers import Sampling
from bench.endtoend.claims import claims
from bench.endtoend.figures import Measured, Objective, figures
from bench.endtoend.journal import Journal
from bench.endtoend.load import parse_load
from bench.endtoend.outside import Compared, OutsideClient
from bench.endtoend.run import RATE, Asked, Run, Warmth
from bench.endtoend.running import Fleets, resident
from bench.endtoend.schedule import Block, Cell, schedule
from bench.endtoend.sides import VANILLA, Drafter, Side, chosen_topology, drafters, fleets, sides
from bench.endtoend.workload import workload
from bench.results import BenchError, Document, OptionError, Recording, Say, commit

MODEL: Final = "smollm2-135m-instruct"
NGRAM: Final = {"method": "ngram", "k": 8}
LOADS: Final = ("closed-2", "closed-16", "open-0.5", "open-0.8")
TABLE: Final = ((1, 2, 8), (3, 4, 4), (5, 16, 2))
"""vLLM's: from and to so many requests in a batch, so many draft tokens."""
_TAKEN: Final = "seconds of all runs"
_PRETENDING: Final = {"step_ms": 2, "prefill_ms": 1}


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted. `profiles` are the drafters'; None for `topology` and `resident` leaves it to us.

    `tokenizer` is the model's folder, for the outside client.
    """

    repeats: int = 5
    budget_s: float | None = None
    loads: tuple[str, ...] = LOADS
    sides: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    ks: tuple[int, ...] = (2, 4, 8)
    per_task: int = 2
    max_tokens: int = 64
    temperature: float = 0.8
    warm_up: int = 240
    profiles: tuple[str, ...] = (json.dumps(NGRAM),)
    table: tuple[tuple[int, int, int], ...] = TABLE
    topology: str | None = None
    resident: int | None = None
    spec_bench: str | None = None
    objective: tuple[float, float] = (2.0, 0.2)
    outside_requests: int = 0
    tokenizer: str = ""
    fake_engines: bool = False

    @property
    def fingerprint(self) -> str:
        """The same for runs whose blocks may stand beside each other: of one commit, however long."""
        asked = asdict(self)
        for name in ("repeats", "budget_s", "resident", "objective", "outside_requests", "tokenizer"):
            del asked[name]
        asked["commit"] = commit()
        return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


class _Ended(NamedTuple):
    """How a measurement ended: what the outside client found, and the sides that were left out and why."""

    outside: Compared
    failed: Mapping[str, str]


def run_end_to_end(options: Options, work: Path, say: Say, *, fresh: bool = False) -> tuple[Document, bool]:
    """Measure, going on with what is in `work`; the document, and whether nothing is left to be measured.

    Raises:
        BenchError: Something that is asked for does not exist, a side does not answer, or no repeat was
            finished in time.
    """
    folder = work / options.fingerprint
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    offered = _drafters(options)
    chosen, cells = sides(offered, options.ks, options.sides), cells_of(options)
    topology, why = chosen_topology(offered, options.topology)
    recording = Recording("end-to-end", _told(options) | {"topology": topology, "topology_because": why})
    journal = Journal(folder / "journal.jsonl", options.fingerprint)
    most = options.resident or resident()
    names = {side.fleet for side in chosen}
    blocks = schedule(chosen, cells, repeats=options.repeats, all_at_once=most >= len(names))
    say(f"{len(blocks)} blocks, {len(journal.blocks)} measured already; {most} fleets at a time")
    began = time.monotonic()
    try:
        ended = asyncio.run(_measure(options, folder, journal, blocks, topology=topology, most=most, say=say))
    except BenchError as error:
        if isinstance(error, OptionError) or not list(done_repeats(blocks, journal)):
            raise
        say(str(error))
        ended = _Ended(Compared([], whole=False), {})
    finally:
        journal.note(_TAKEN, journal.notes.get(_TAKEN, 0.0) + time.monotonic() - began)
    done = finished(blocks, journal) and ended.outside.whole
    measured = list(done_repeats(blocks, journal, ended.failed))
    if not measured:
        raise BenchError("no repeat was finished in time: the same command goes on where it stopped")
    found = figures(measured, Objective(*options.objective))
    document = recording.document(
        {
            "rate": journal.notes.get(RATE),
            "failed": dict(ended.failed),
            **found,
            "claims": claims(found),
            "outside": ended.outside.rows,
        }
    )
    return document | {"seconds": round(journal.notes[_TAKEN], 1)}, done


def cells_of(options: Options) -> list[Cell]:
    """All loads greedily, and the closed ones sampled as well.

    Raises:
        OptionError: A load is none.
    """
    greedy = Sampling("greedy", 0.0, options.max_tokens)
    sampled = Sampling("sampled", options.temperature, options.max_tokens)
    loads = [parse_load(text) for text in options.loads]
    pairs = [(load, greedy) for load in loads]
    pairs += [(load, sampled) for load in loads if load.clients is not None]
    return [Cell(number, load, sampling) for number, (load, sampling) in enumerate(pairs)]


def done_repeats(
    blocks: Iterable[Block], journal: Journal, failed: Container[str] = ()
) -> Iterable[Measured]:
    """What was measured in the repeats of which every block is finished, but for sides that `failed`."""
    by_repeat: dict[int, list[Block]] = {}
    for block in blocks:
        by_repeat.setdefault(block.repeat, []).append(block)
    for repeat in sorted(by_repeat):
        of_repeat = by_repeat[repeat]
        if all(block.key in journal.blocks or block.side.name in failed for block in of_repeat):
            for block in (one for one in of_repeat if one.key in journal.blocks):
                place = (block.cell.load.name, block.cell.sampling.name)
                yield Measured(block.repeat, *place, block.side.name, *journal.blocks[block.key])


def finished(blocks: Iterable[Block], journal: Journal) -> bool:
    """Whether nothing is left."""
    return all(block.key in journal.blocks for block in blocks)


def _drafters(options: Options) -> list[Drafter]:
    try:
        offered = drafters([json.loads(profile) for profile in options.profiles])
        most = max(drafter.k for drafter in offered)
    except (ValueError, LookupError, TypeError) as error:
        raise OptionError(f"--profile: {error!r}: write a profile, like {json.dumps(NGRAM)}") from error
    if too_large := [k for k in options.ks if not 1 <= k <= most]:
        raise OptionError(f"--ks: {too_large[0]}: the profile's k is {most}: name k from 1 to {most}")
    return offered


def _told(options: Options) -> dict[str, Any]:
    """The settings as a result tells them: with names of files, not where they lie on this machine."""
    told = asdict(options)
    del told["tokenizer"]
    told["profiles"] = [_without_folder(json.loads(profile)) for profile in options.profiles]
    told["spec_bench"] = Path(options.spec_bench).name if options.spec_bench else None
    return told


def _without_folder(profile: Mapping[str, Any]) -> Mapping[str, Any]:
    draft_model = profile.get("draft_model")
    return profile if draft_model is None else {**profile, "draft_model": Path(draft_model).name}


async def _measure(
    options: Options,
    folder: Path,
    journal: Journal,
    blocks: list[Block],
    *,
    topology: str,
    most: int,
    say: Say,
) -> _Ended:
    """Have all blocks answered, and then what an outside client is to ask."""
    spec_bench = Path(options.spec_bench) if options.spec_bench is not None else None
    samplings = tuple(dict.fromkeys(block.cell.sampling for block in blocks))
    asked = Asked(
        workload(spec_bench, options.tasks), options.per_task, Warmth(options.warm_up, samplings), MODEL
    )
    until_s = None if options.budget_s is None else time.monotonic() + options.budget_s
    common = {"fake_engines": _PRETENDING} if options.fake_engines else {}
    made = fleets(_drafters(options), topology, options.table, common)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, limits=limits) as client:
        run = Run(asked, journal, client, say)
        async with Fleets(made, folder, most=most, warm=run.warm, say=say) as running:
            whole = await run.blocks(blocks, running, until_s=until_s)
            if not options.outside_requests:
                return _Ended(Compared([], whole=True), run.failed)
            if not whole and not run.failed:
                return _Ended(Compared([], whole=False), run.failed)
            outside = OutsideClient(
                journal,
                folder / "outside",
                asked.workload,
                options.outside_requests,
                model=MODEL,
                tokenizer=options.tokenizer,
                max_tokens=options.max_tokens,
            )
            chosen = {block.side.name: block.side for block in blocks if not block.side.cold}
            left = {name: side for name, side in chosen.items() if name not in run.failed}
            compared = await outside.compared(
                _plain_first(left), running, options.repeats, say, until_s=until_s
            )
            return _Ended(compared, run.failed)


def _plain_first(chosen: Mapping[str, Side]) -> list[Side]:
    return sorted(chosen.values(), key=lambda side: side.name != VANILLA)

"""The steps of `specroute calibrate`, from options to an exit code."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import shutil
import sys
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from policies.calibrating import Measured
from policies.cost import Calibrated, CalibrationError
from policies.loading import PolicyError
from router.admin_client import AdminUrlError
from router.calibrating.asking import Asker
from router.calibrating.document import Results, costs_of, results
from router.calibrating.journal import Journal, JournalError, UnusableJournalError
from router.calibrating.options import Options
from router.calibrating.pilot import timed
from router.calibrating.planning import Plan, asked, planned
from router.calibrating.progress import Screen
from router.calibrating.prompts import PromptsError, read_prompts
from router.calibrating.report import markdown, page
from router.calibrating.runner import Runner
from router.calibrating.service import Facts, OverridesError, ServiceError, cost, facts

_OK, _FAILED, _BAD_INPUT = 0, 1, 2
_BYTES_PER_REQUEST: Final = 20_000
_SHOWN_FAILURES: Final = 3


def run_calibration(options: Options) -> int:
    """Measure, and write the report, the calibration file and the policy; returns the exit code."""
    errors = Console(stderr=True, highlight=False)
    try:
        prompts = read_prompts(options.prompts)
        found = facts(options.url, options.api_key)
        what = asked(options, found, prompts)
        journal = Journal(options.output / "journal.jsonl", what.fingerprint, fresh=options.fresh)
        costs = costs_of(cost(options.url))
        plan = planned(options, what, found, costs, journal.begun)
        if journal.begun is None and not options.check:
            _check_room(options.output, plan)
            plan = planned(options, what, found, _timed(options, found, plan, costs, errors), None)
    except KeyboardInterrupt:
        return _said(errors, "stopped: nothing is measured yet", _FAILED)
    except (AdminUrlError, OverridesError, PromptsError, UnusableJournalError) as error:
        return _said(errors, str(error), _BAD_INPUT)
    except (ServiceError, CalibrationError, JournalError) as error:
        return _said(errors, str(error), _FAILED)
    _say(errors, plan.words())
    for note in plan.notes:
        _say(errors, note)
    if found.in_flight:
        _say(errors, f"{found.in_flight} other requests are on the service: times are those beside them")
    if options.check:
        return _OK
    try:
        return _measured(options, found, plan, journal, errors)
    except (JournalError, ServiceError, CalibrationError, PolicyError) as error:
        return _said(errors, str(error).splitlines()[0], _FAILED)


def _timed(
    options: Options, found: Facts, plan: Plan, costs: Mapping[str, Calibrated], errors: Console
) -> Mapping[str, Calibrated]:
    """The step times as a first prompt shows them."""
    _say(errors, "a first prompt on every pool, to see how long the others take")
    prompt = next(iter(plan.prompts.values()))

    async def ask() -> Mapping[str, Calibrated]:
        async with _asker(options, found) as asker:
            return await timed(asker, prompt, plan.sides, costs)

    return asyncio.run(ask())


def _measured(options: Options, now: Facts, plan: Plan, journal: Journal, errors: Console) -> int:
    journal.begin(plan.begun)
    found = replace(now, pools=plan.begun.pools)
    away = {pool.profile for pool in found.pools} - {pool.profile for pool in now.pools}
    _check_room(options.output, plan)
    if journal.done:
        _say(errors, f"going on: {len(journal.done)} of {len(plan.blocks)} blocks are measured already")
    try:
        failures = asyncio.run(_run(options, found, plan, journal, away, errors))
    except KeyboardInterrupt:
        text = f"stopped: {len(journal.done)} of {len(plan.blocks)} blocks are kept; the same command goes on"
        return _said(errors, text, _FAILED)
    for failure in list(dict.fromkeys(failures))[:_SHOWN_FAILURES]:
        _say(errors, failure)
    answers = [
        replace(answer, block=number) for number in sorted(journal.done) for answer in journal.done[number]
    ]
    if not journal.costs:
        journal.add_cost(cost(options.url))
    about = _about(options, found, plan, answers, len(failures))
    made = results(answers, journal.costs, found, plan.wanted, about)
    return _write(options, made, errors, failed=bool(failures))


async def _run(  # noqa: PLR0917 - a calibration's parts
    options: Options, found: Facts, plan: Plan, journal: Journal, away: AbstractSet[str], errors: Console
) -> list[str]:
    with Screen(errors, len(plan.blocks) - len(journal.done) or 1) as screen:
        async with _asker(options, found) as asker:
            runner = Runner(asker, plan.prompts, journal, partial(cost, options.url), screen.seen, away)
            return await runner.run(plan.blocks)


def _asker(options: Options, found: Facts) -> Asker:
    return Asker(options.url, found, max_tokens=options.max_tokens, api_key=options.api_key)


def _about(
    options: Options, found: Facts, plan: Plan, answers: list[Measured], failed: int
) -> Mapping[str, Any]:
    return {
        "url": options.url,
        "model": found.model,
        "policy_in_force": found.policy_name,
        "at": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "prompts": len(plan.prompts),
        "requests": len(answers),
        "failed": failed,
        "temperature": plan.wanted.temperatures[0],
        "top_p": plan.wanted.top_ps[0],
        "reference_k": plan.wanted.reference_k,
        "seed": options.seed,
    }


def _write(options: Options, made: Results, errors: Console, *, failed: bool) -> int:
    from router.calibrating.plots import plots  # noqa: PLC0415 - matplotlib takes a second

    pictures = plots(made)
    document = made.document()
    files = {
        "report.md": markdown(made, pictures),
        "report.html": page(made, pictures) + "\n",
        "results.json": json.dumps(document, indent=1, ensure_ascii=False) + "\n",
        "calibration.json": json.dumps(made.file, indent=1, ensure_ascii=False) + "\n",
        "policy.yaml": made.policy.text,
        **{f"{name}.svg": picture for name, picture in pictures.items()},
    }
    for name, text in files.items():
        path = options.output / name
        try:
            path.write_text(text, "utf-8")
        except OSError as error:
            told = f"{path}: {error.strerror or error}: make room, and run the same command again"
            return _said(errors, f"{told}; all measurements are kept", _FAILED)
    if options.as_json:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stdout.write(_summary(made, options.output))
    return _FAILED if failed else _OK


def _summary(made: Results, output: Path) -> str:
    lines = [*made.warnings, *made.notes]
    lines += [
        f"{one.task} at {one.temperature} temperature: {one.route}, {one.profile} k={one.k}"
        + (" (close)" if one.close else "")
        for one in made.policy.expected
    ]
    lines += [
        f"report: {output / 'report.html'} (or report.md)",
        f"step times, acceptance, routes: {output / 'calibration.json'}, for the deployment's `calibration`",
        f"policy: {output / 'policy.yaml'}; see `specroute policy diff` for what it changes",
    ]
    return "\n".join(lines) + "\n"


def _check_room(output: Path, plan: Plan) -> None:
    """Raise JournalError where the measurements will not fit."""
    place = next(folder for folder in (output, *output.parents) if folder.exists())
    needed, free = plan.requests * _BYTES_PER_REQUEST, shutil.disk_usage(place).free
    if free < needed:
        raise JournalError(
            f"{output}: {free / 2**20:.0f} MiB free, about {needed / 2**20:.0f} are needed: make room, or "
            "name another --output"
        )


def _said(console: Console, text: str, exit_code: int) -> int:
    for line in text.splitlines():
        _say(console, line)
    return exit_code


def _say(console: Console, text: str) -> None:
    console.print(f"specroute: {text}", markup=False, soft_wrap=True)

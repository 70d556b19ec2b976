"""The command: reads options, starts the service, asks, writes journal, figures and tables."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

from bench.methods.arms import KS, PLAIN, Arm, Method, deployment, parsed
from bench.methods.asking import Asker, Told
from bench.methods.figures import BASE, figures
from bench.methods.journal import Journal
from bench.methods.prompts import Prompt, chosen, own_prompts, spec_bench
from bench.methods.tables import markdown
from bench.results import BenchError, Recording, Say, write
from bench.serving import Serving

_START_S: Final = 1800.0
"""For up to five engines on one core."""


class Asking(Protocol):
    """What is asked of a service; `bench.methods.asking.Asker` is one."""

    def ask(self, text: str, arm: Arm) -> Told:
        """The answer of this arm."""
        ...

    def gap(self, text: str, plain: Sequence[int], other: Sequence[int]) -> float | None:
        """How far apart the two best tokens are where the answers part."""
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure methods; `arguments` are the command line's.

    Returns 0, 1 when it was stopped or the service failed, and 2 when something that was given is wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        methods = parsed(options.methods, sorted(set(options.k)))
        prompts = asked(options.spec_bench, families=options.tasks, limit=options.limit)
        journal = Journal(options.out / "journal.jsonl", settings(options, methods))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    waiting = [prompt for prompt in prompts if prompt.id not in journal.rows]
    arms = [Arm(PLAIN, 0), *(arm for method in methods for arm in method.arms)]
    done = len(prompts) - len(waiting)
    say(f"{len(prompts)} prompts, {len(arms)} arms; {done} prompts are measured already")
    recording = Recording("methods", settings(options, methods))
    try:
        if waiting:
            with_service(options, methods, lambda asker: measure(asker, waiting, arms, journal, say))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it stopped", file=sys.stderr)
        return 1
    finally:
        report(options.out, recording, journal)
    return 0


def asked(file: Path | None, *, families: Sequence[str] | None, limit: int | None) -> list[Prompt]:
    """The prompts to ask.

    Raises:
        BenchError: The file of Spec-Bench or a family's name is wrong.
    """
    more = spec_bench(file) if file is not None else []
    return chosen([*own_prompts(), *more], families=families, limit=limit)


def settings(options: argparse.Namespace, methods: Sequence[Method]) -> dict[str, Any]:
    """What a journal must not mix: the methods with their weights, k, and lengths of answers."""
    return {
        "methods": {method.name: method.weights or "" for method in methods},
        "k": {method.name: list(method.ks) for method in methods},
        "max_tokens": options.max_tokens,
    }


def with_service(
    options: argparse.Namespace, methods: Sequence[Method], use: Callable[[Asker], None], **spec: Any
) -> None:
    """Start the service, use it, and end it however that goes.

    Raises:
        BenchError: It does not start, or `use` raised it.
    """
    args, policy = deployment(methods, core=options.core, spec=spec)
    say("starting the engines, which takes a minute or two")
    serving = Serving(options.out / "service", args, policy)
    try:
        serving.start()
        serving.wait_until_ready(_START_S)
        say("the engines time their passes, which takes half a minute")
        if not serving.wait_until_rehearsed():
            say("some were disturbed: going on all the same")
        asker = Asker(serving.url, max_tokens=options.max_tokens)
        try:
            use(asker)
        finally:
            asker.close()
    finally:
        serving.end()


def measure(
    asker: Asking, prompts: Sequence[Prompt], arms: Sequence[Arm], journal: Journal, say: Say
) -> None:
    """Ask every prompt of all arms, one after the other in an order drawn anew, and keep what they said.

    An engine's first answers are slower, so each pool is asked once before.

    Raises:
        BenchError: The service fails, or the journal cannot be written.
    """
    for arm in {arm.method: arm for arm in arms}.values():
        asker.ask(prompts[0].text, arm)
    began = time.monotonic()
    for number, prompt in enumerate(prompts, 1):
        order = Random(prompt.id).sample(list(arms), len(arms))
        answers = {arm.name: asker.ask(prompt.text, arm) for arm in order}
        plain = answers[BASE].tokens
        gaps = {name: asker.gap(prompt.text, plain, told.tokens) for name, told in answers.items()}
        journal.add(prompt.id, prompt.family, answers, gaps)
        left = (time.monotonic() - began) / number * (len(prompts) - number) / 60
        say(f"{number} of {len(prompts)} prompts, {left:.0f} min left")


def report(folder: Path, recording: Recording, journal: Journal) -> None:
    """Write figures and tables of what has been measured, if anything has."""
    if not journal.rows:
        return
    rows = figures(journal.rows.values())
    write(folder, "methods", recording.document({"rows": rows}))
    (folder / "methods.md").write_text(markdown(rows), encoding="utf-8")
    say(f"{folder / 'methods.md'}, methods.json and journal.jsonl are written")


def say(text: str) -> None:
    """Tell a person, on standard error."""
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.methods", description="Every way to draft, on real engines in one run."
    )
    parser.add_argument(
        "methods",
        nargs="+",
        help="ngram, suffix, eagle3=embedded, eagle3=FOLDER, draft_model=FOLDER, medusa=FOLDER; "
        "with k of its own: ngram@4, eagle3@2,4=FOLDER; on engines of another data type: plain/bfloat16, "
        "ngram/bfloat16@4",
    )
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those that both commands of this package have."""
    parser.add_argument("--out", type=Path, required=True, help="folder of journal, figures and tables")
    parser.add_argument(
        "--spec-bench", type=Path, metavar="FILE", help="rows of Spec-Bench, beside own prompts"
    )
    parser.add_argument(
        "--tasks", nargs="+", metavar="FAMILY", help="only these, such as code or 'spec-bench qa'"
    )
    parser.add_argument("--limit", type=_count, help="most prompts of each family")
    parser.add_argument("--k", nargs="+", type=_count, default=KS)
    parser.add_argument("--max-tokens", type=_count, default=64)
    parser.add_argument("--core", type=int, default=1, help="the core that all engines share")


def _count(given: str) -> int:
    if (number := int(given)) < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {given}")
    return number

"""Several drafters offered at once: the arm that the router ends on, and whether it beats each of them alone.

    python -m bench.methods.pools ngram eagle3=runs/drafter/drafter --out pools --warm-up 300 --limit 20

First the router learns from `--warm-up` requests of all families in turn. Then every prompt is asked as the
router decides, plainly, and on each speculative pool with the k that the router takes there: what a service
with that pool alone would do if it always drafted. The better of those alone is chosen after the fact, from
the same times, so chance favours it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, islice
from random import Random
from typing import Any, Final, Protocol

from bench.methods.arms import PLAIN, Method, parsed
from bench.methods.asking import Told
from bench.methods.command import add_options, asked, say, settings, with_service
from bench.methods.figures import ratio
from bench.methods.journal import Journal
from bench.methods.prompts import Prompt
from bench.methods.tables import interval
from bench.results import BenchError, Recording, Say, write

ROUTER: Final = "router"
_CHANCE: Final = frozenset({"exploration", "holdout"})


class Asking(Protocol):
    """What is asked of a service; `bench.methods.asking.Asker` is one."""

    def told(self, text: str, headers: dict[str, str]) -> Told:
        """The answer of whoever these headers choose."""
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the router's choice; `arguments` are the command line's.

    Returns 0, 1 when it was stopped, the service failed or a family is slower than with the better drafter
    alone, with confidence, and 2 when something that was given is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench.methods.pools", description="The arm the router ends on, of several drafters."
    )
    parser.add_argument("methods", nargs="+", help="as for python -m bench.methods")
    add_options(parser)
    parser.add_argument("--warm-up", type=int, default=300, help="requests before anything is measured")
    options = parser.parse_args(arguments)
    try:
        methods = parsed(options.methods, sorted(set(options.k)))
        prompts = asked(options.spec_bench, families=options.tasks, limit=options.limit)
        journal = Journal(options.out / "journal.jsonl", settings(options, methods))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    recording = Recording("pools", {**settings(options, methods), "warm_up": options.warm_up})
    waiting = [prompt for prompt in prompts if prompt.id not in journal.rows]

    def use(asker: Asking) -> None:
        warm_up(asker, prompts, options.warm_up, say)
        measure(asker, waiting, methods, journal, say)

    try:
        if waiting:
            with_service(options, methods, use)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it stopped", file=sys.stderr)
        return 1
    rows, all_rows = families(journal.rows.values()), overall(journal.rows.values())
    write(options.out, "pools", recording.document({"rows": rows, "overall": all_rows}))
    (options.out / "pools.md").write_text(markdown(rows, all_rows), encoding="utf-8")
    say(f"{options.out / 'pools.md'}, pools.json and journal.jsonl are written")
    return int(any(row["settled_against_best"] and row["settled_against_best"][1] > 1 for row in rows))


def headers(family: str, alone: str | None) -> dict[str, str]:
    """Of a request that the router decides, or that one pool answers; own families are tasks."""
    task = {} if " " in family else {"X-Specroute-Task": family}
    if alone is None:
        return task
    route = "vanilla" if alone == PLAIN else "speculative"
    return {**task, "X-Specroute-Route": route, "X-Specroute-Profile": alone}


def warm_up(asker: Asking, prompts: Sequence[Prompt], requests: int, say: Say) -> None:
    """Let the router decide and learn; `prompts` come in turns of their families.

    Raises:
        BenchError: The service fails.
    """
    for number, prompt in enumerate(islice(cycle(prompts), requests), 1):
        asker.told(prompt.text, headers(prompt.family, None))
        if number % 10 == 0:
            say(f"warming up: {number} of {requests}")


def measure(
    asker: Asking, prompts: Sequence[Prompt], methods: Sequence[Method], journal: Journal, say: Say
) -> None:
    """Ask every prompt as the router decides and of every pool alone, in an order drawn anew.

    Raises:
        BenchError: The service fails, or the journal cannot be written.
    """
    sides: dict[str, str | None] = {ROUTER: None, PLAIN: PLAIN}
    sides |= {method.name: method.name for method in methods}
    for number, prompt in enumerate(prompts, 1):
        answers = {
            name: asker.told(prompt.text, headers(prompt.family, sides[name]))
            for name in Random(prompt.id).sample(list(sides), len(sides))
        }
        journal.add(prompt.id, prompt.family, answers, {})
        say(f"{number} of {len(prompts)} prompts")


def families(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By family: the pool the router took most, its share, its usual k there, and ratios of times per token.

    `alone` has every pool's ratio to plain decoding; `best` is the least of them and plain decoding itself
    (1), and `against_best` is the router's over that one's, each [value, low, high]. So is
    `settled_against_best`, without the prompts on which the router explored.
    """
    return [_family(family, own) for family, own in sorted(_by_family(rows).items())]


def overall(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all prompts: how many, how many were explored on, the times over those of each family's best."""
    pairs, settled, explored = [], [], 0
    for own in _by_family(rows).values():
        best = _family("", own)["best"]
        for answers in (row["answers"] for row in own):
            pair = _tpot(answers[ROUTER]), _tpot(answers[best])
            pairs.append(pair)
            if _explored(answers):
                explored += 1
            else:
                settled.append(pair)
    return {
        "prompts": len(pairs),
        "explored": explored,
        "against_best": ratio(pairs),
        "settled_against_best": ratio(settled),
    }


def _by_family(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["family"]].append(row)
    return groups


def _explored(answers: Mapping[str, Any]) -> bool:
    return answers[ROUTER]["reason"] in _CHANCE


def _family(family: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    answers = [row["answers"] for row in rows]
    settled = [own for own in answers if not _explored(own)]
    chosen = [own[ROUTER] for own in settled]
    pools = Counter(one["profile"] for one in chosen).most_common(1)
    profile, count = pools[0] if pools else (None, 0)
    ks = Counter(one["k"] for one in chosen if one["profile"] == profile).most_common(1)
    alone = {name: _against(answers, name, PLAIN) for name in answers[0] if name not in {ROUTER, PLAIN}}
    known = {name: one[0] for name, one in alone.items() if one is not None} | {PLAIN: 1.0}
    best = min(known, key=lambda name: known[name])
    return {
        "family": family,
        "prompts": len(rows),
        "profile": profile,
        "k": ks[0][0] if ks else None,
        "share": count / len(chosen) if chosen else None,
        "explored": len(answers) - len(chosen),
        "router": _against(answers, ROUTER, PLAIN),
        "alone": alone,
        "best": best,
        "against_best": _against(answers, ROUTER, best),
        "settled_against_best": _against(settled, ROUTER, best),
    }


def _against(answers: Sequence[Mapping[str, Any]], name: str, base: str) -> tuple[float, float, float] | None:
    return ratio((_tpot(own[name]), _tpot(own[base])) for own in answers)


def _tpot(one: Mapping[str, Any]) -> float | None:
    return one["decode_s"] / (one["tokens"] - 1) if one["tokens"] > 1 else None


def markdown(rows: Sequence[Mapping[str, Any]], total: Mapping[str, Any]) -> str:
    """The table; `total` is what `overall` found."""
    names = list(rows[0]["alone"]) if rows else []
    head = ["prompts of", "prompts", "explored", "the router's pool", "router"]
    head += [
        *(f"{name} alone" for name in names),
        "better alone",
        "router / better alone",
        "explored left out",
    ]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        share = "" if row["share"] is None else f" ({row['share']:.0%})"
        cells = [row["family"], str(row["prompts"]), str(row["explored"])]
        cells += [f"{row['profile']}{share}, mostly k={row['k']}", interval(row["router"])]
        cells += [*(interval(row["alone"][name]) for name in names), row["best"], *_compared(row)]
        lines.append(f"| {' | '.join(cells)} |")
    cells = ["all", str(total["prompts"]), str(total["explored"]), *[""] * (len(names) + 2), "each task's"]
    lines.append(f"| {' | '.join([*cells, *_compared(total)])} |")
    return "\n".join(["Times per token over plain decoding's, below 1 is faster:", "", *lines, ""])


def _compared(row: Mapping[str, Any]) -> list[str]:
    return [interval(row["against_best"]), interval(row["settled_against_best"])]


if __name__ == "__main__":
    sys.exit(main())

"""The end-to-end bench in words and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench.endtoend.claims import is_fixed
from bench.endtoend.figures import EVERYWHERE
from bench.endtoend.sides import ADAPTIVE, VANILLA
from bench.report.tables import Row, figure, median, shown, table, word

_SHOWN_ARMS: Final = 3
_ENGINES: Final = {
    "both": "two engines that draft",
    "mixed": "a plain and a drafting engine",
    "each": "an engine of each drafter",
}


def end_to_end(document: Mapping[str, Any]) -> str:
    """Claims first, then times, ratios by task and what the router chose."""
    settings = document["settings"]
    places = list(dict.fromkeys((row["load"], row["sampling"]) for row in document["cells"]))
    parts = [_settings(settings), _repeats(document), _claims(document["claims"])]
    for load, sampling in sorted(places, key=EVERYWHERE.__ne__):
        parts += ["", f"#### {_place(load, sampling, document)}", *_of_place(document, load, sampling)]
    if document["outside"]:
        parts += ["#### As vLLM's own serving benchmark sees it", _outside(document["outside"])]
    return "\n\n".join(part for part in parts if part)


def _settings(settings: Mapping[str, Any]) -> str:
    # Files from before there could be two drafters have one profile, as text.
    profiles = settings["profiles"] if "profiles" in settings else [json.loads(settings["profile"])]
    drafters = "; ".join(f"{profile['method']}, k up to {profile['k']}" for profile in profiles)
    return (
        f"Drafter{'s' if len(profiles) > 1 else ''}: {drafters}. Sides that decide run on "
        f"{_ENGINES[settings['topology']]} ({settings['topology_because']}), and were warmed up with "
        f"{settings['warm_up']} requests. Answers of at most {settings['max_tokens']} tokens; sampled ones "
        f"at temperature {settings['temperature']}. An answer is good within {settings['objective'][0]} s to "
        f"the first token and {1000 * settings['objective'][1]:.0f} ms per further one. Ratios are times per "
        "token: below 1 is faster."
    )


def _repeats(document: Mapping[str, Any]) -> str:
    """Of how many repeats figures are, and who has none."""
    done = max(row["repeats"] for row in document["cells"])
    wanted = document["settings"]["repeats"]
    said = f"{done} repeats{'' if done == wanted else f' of {wanted}: not finished'}."
    return " ".join([said, *(f"{side} is left out: {why}" for side, why in document["failed"].items())])


def verdict(claim: Row) -> str:
    """Whether a claim holds, and whether that is beyond doubt: whether its whole interval says so."""
    if claim["holds"]:
        return "yes" if claim["clear"] else "yes, within the noise"
    return "**no**" if claim["clear"] else "no, within the noise"


def _claims(rows: Sequence[Row]) -> str:
    """What holds, all loads together first."""
    return table(
        sorted(rows, key=lambda row: (row["load"], row["sampling"]) != EVERYWHERE),
        [
            ("load", word("load")),
            ("sampling", word("sampling")),
            ("adaptive is …", word("claim")),
            ("holds", verdict),
            ("ratio", figure("ratio", 3)),
        ],
    )


def _place(load: str, sampling: str, document: Mapping[str, Any]) -> str:
    if (load, sampling) == EVERYWHERE:
        return "All loads together"
    kind, _, value = load.partition("-")
    if kind == "closed":
        return f"{value} clients at once, {sampling}"
    rate = document["rate"]
    return f"Open arrivals at {float(value) * rate:.2f} requests/s ({value} of two plain engines), {sampling}"


def _of_place(document: Mapping[str, Any], load: str, sampling: str) -> list[str]:
    def here(name: str) -> list[Row]:
        return [row for row in document[name] if (row["load"], row["sampling"]) == (load, sampling)]

    to_vanilla = {row["side"]: row["ratio"] for row in here("ratios") if row["to"] == VANILLA}
    adaptive_to = {row["to"]: row["ratio"] for row in here("ratios") if row["side"] == ADAPTIVE}
    rows = [
        {**row, "to_vanilla": to_vanilla.get(row["side"]), "adaptive": adaptive_to.get(row["side"])}
        for row in here("cells")
    ]
    times = table(
        rows,
        [
            ("side", word("side")),
            ("TTFT, s", median("ttft_s", 3)),
            ("TPOT, ms", median("tpot_s", 1, 1000)),
            ("completion, s", median("completion_s")),
            ("95 of 100, s", median("completion_p95_s")),
            ("good/s", median("goodput_per_s")),
            ("tokens/s", median("tokens_per_s", 1)),
            ("to plain", figure("to_vanilla", 3)),
            ("adaptive to it", figure("adaptive", 3)),
        ],
    )
    return [times, _tasks(here("tasks")), _arms([row for row in here("arms") if row["side"] == ADAPTIVE])]


def _tasks(rows: Sequence[Row]) -> str:
    """A line per task: every side to vanilla, and the fastest of the fixed ones."""
    sides = list(dict.fromkeys(row["side"] for row in rows if row["side"] != VANILLA))
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        of_task = {row["side"]: row for row in rows if row["task"] == task}
        fixed = {side: row["per_token_s"][0] for side, row in of_task.items() if is_fixed(side)}
        lines.append(
            {"task": task.replace("_", " "), "best": min(fixed, key=lambda side: fixed[side], default="")}
            | {side: shown(of_task[side]["to_vanilla"]) for side in sides if side in of_task}
        )
    return table(
        lines, [("task", word("task")), ("best fixed", word("best")), *((side, word(side)) for side in sides)]
    )


def _arms(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    said = []
    for row in rows:
        most = sorted(row["arms"].items(), key=lambda item: -item[1])[:_SHOWN_ARMS]
        said.append(f"{row['task'].replace('_', ' ')}: {', '.join(f'{arm} ({n})' for arm, n in most)}")
    return "What adaptive chose most: " + "; ".join(said) + "."


def _outside(rows: Sequence[Row]) -> str:
    return table(
        rows,
        [
            ("side", word("side")),
            ("TTFT, ms", median("median_ttft_ms", 0)),
            ("TPOT, ms", median("median_tpot_ms", 1)),
            ("completion, ms", median("median_e2el_ms", 0)),
            ("to plain", figure("ratio_median_e2el_ms", 3)),
            ("tokens/s", median("output_throughput", 1)),
        ],
    )

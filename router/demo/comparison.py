"""What a pass took against plain decoding of the same prompts.

Sampled answers may differ in length between routes, so the vanilla time of a prompt is scaled to the tokens
the pass decoded: its vanilla time per token times those tokens. For equal lengths that changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from router.demo.rows import Pass, Row

_RESAMPLES = 1000
_SEED = 1

BaselineKind = Literal["paired", "seen", "none"]
"""Every prompt was also sent vanilla; vanilla requests were seen by chance; there were none."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One prompt's decode time, and what the same tokens take in plain decoding."""

    task: str
    decode_s: float
    vanilla_s: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """Vanilla time per token: by prompt where pairs were sent, else one for all from whatever ran vanilla."""

    kind: BaselineKind
    by_prompt: Mapping[tuple[Pass, str], float]
    seen_s: float | None = None

    def tpot_s(self, row: Row) -> float | None:
        """What plain decoding of the row's prompt took per token beside it; None where that is not known."""
        return self.by_prompt.get((row.beside, row.prompt)) if self.kind == "paired" else self.seen_s


def baseline(rows: Sequence[Row]) -> Baseline:
    """The best comparison the rows allow."""
    by_prompt = {
        (row.beside, row.prompt): row.tpot_s
        for row in rows
        if row.phase == "vanilla" and row.route == "vanilla" and row.tpot_s is not None
    }
    if by_prompt:
        return Baseline("paired", by_prompt)
    # Over all tasks: a plain step takes its time whatever is written, and some tasks ran no vanilla request.
    seen_s = mean_tpot_s(row for row in rows if row.route == "vanilla")
    return Baseline("none" if seen_s is None else "seen", {}, seen_s)


def mean_tpot_s(rows: Iterable[Row]) -> float | None:
    """Decode time over decoded tokens, all rows together; None without any."""
    seconds = tokens = 0.0
    for row in rows:
        if row.tpot_s is not None and row.decode_s is not None and row.tokens is not None:
            seconds += row.decode_s
            tokens += row.tokens - 1
    return seconds / tokens if tokens else None


def pairs(rows: Iterable[Row], phase: Pass, against: Baseline, tasks: Mapping[str, str]) -> list[Pair]:
    """The pass's requests that can be compared."""
    found = []
    for row in rows:
        if row.phase != phase or row.decode_s is None or row.tokens is None or row.tpot_s is None:
            continue
        if (vanilla_s := against.tpot_s(row)) is not None:
            found.append(Pair(tasks[row.prompt], row.decode_s, vanilla_s * (row.tokens - 1)))
    return found


def ratio(compared: Sequence[Pair]) -> float | None:
    """Total decode time over that of plain decoding; None without pairs."""
    vanilla_s = sum(pair.vanilla_s for pair in compared)
    return sum(pair.decode_s for pair in compared) / vanilla_s if vanilla_s > 0 else None


def interval(compared: Sequence[Pair]) -> tuple[float, float] | None:
    """The ratio's 90 % interval, from resampled prompts (Efron's percentile bootstrap); None without two."""
    if len(compared) < 2 or ratio(compared) is None:  # noqa: PLR2004 - one prompt has no spread
        return None
    rng = Random(_SEED)
    drawn = sorted(
        value
        for _ in range(_RESAMPLES)
        if (value := ratio(rng.choices(compared, k=len(compared)))) is not None
    )
    return drawn[len(drawn) // 20], drawn[-len(drawn) // 20]

"""From answers to figures: acceptance and coverage by position, tokens per step, and time against plain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from bench.methods.arms import PLAIN, Arm
from bench.methods.asking import ROUNDING
from policies.acceptance import measured_length, pooled
from policies.evidence import RequestSteps, counters, positions

ALL: Final = "all"
BASE: Final = Arm(PLAIN, 0).name
_RESAMPLES: Final = 4000
_INTERVAL: Final = (0.05, 0.95)

Row = Mapping[str, Any]


def figures(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """A row for every family and arm, and for all families together.

    Of each: `prompts`; `alpha_by_position` and `coverage_by_position` (conditional acceptance and draft
    coverage, `policies.evidence`); `coverage`, the share of steps that drafted anything; `acceptance_length`;
    `tpot_ms`; `tpot_ratio` to plain decoding of the same prompts, [value, low, high]; and of the answers how
    many were `identical` to plain decoding's, parted where two tokens are within `rounding`, or `different`.
    """
    families: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        families[str(row["family"])].append(row)
        families[ALL].append(row)
    made = []
    for family, own in sorted(families.items(), key=lambda item: (item[0] == ALL, item[0])):
        names = dict.fromkeys(name for row in own for name in row["answers"])
        of_arms = [{"family": family, **_figures(own, name)} for name in names]
        made += sorted(of_arms, key=lambda row: (row["profile"] != PLAIN, row["profile"], row["k"]))
    return made


def _figures(rows: Sequence[Row], name: str) -> dict[str, Any]:
    answered = [row for row in rows if name in row["answers"]]
    answers = [row["answers"][name] for row in answered]
    counts = pooled(counters(RequestSteps(one["k"], one["drafted"], one["accepted"])) for one in answers)
    by_position = positions(counts)
    drafted = [tokens for one in answers if one["k"] for tokens in one["drafted"]]
    gaps = [row["gaps"].get(name) for row in answered]
    return {
        "arm": name,
        "profile": answers[0]["profile"],
        "k": answers[0]["k"],
        "prompts": len(answers),
        "alpha_by_position": [_share(one.accepted, one.proposed) for one in by_position],
        "coverage_by_position": [_share(one.proposed, one.reached) for one in by_position],
        "coverage": _share(sum(map(bool, drafted)), len(drafted)),
        "acceptance_length": measured_length(counts),
        "tpot_ms": _tpot_ms(answers),
        "tpot_ratio": ratio([(_times(row, name), _times(row, BASE)) for row in answered]),
        "identical": sum(gap is None for gap in gaps),
        "rounding": sum(gap is not None and gap < ROUNDING for gap in gaps),
        "different": sum(gap is not None and gap >= ROUNDING for gap in gaps),
    }


def ratio(pairs: Iterable[tuple[float | None, float | None]]) -> tuple[float, float, float] | None:
    """Sum over sum of paired times per token, with its 90 % interval: bootstrap over prompts.

    None for fewer than two prompts. Prompts with a time missing do not count.
    """
    times = np.array([pair for pair in pairs if None not in pair], dtype=np.float64)
    if len(times) < 2:  # noqa: PLR2004 - one prompt tells nothing of how much they differ
        return None
    draws = np.random.default_rng(1).integers(0, len(times), (_RESAMPLES, len(times)))
    sums = times[draws].sum(axis=1)
    low, high = np.quantile(sums[:, 0] / sums[:, 1], _INTERVAL)
    total = times.sum(axis=0)
    return float(total[0] / total[1]), float(low), float(high)


def _times(row: Row, name: str) -> float | None:
    """The time per token of one answer; where answers part their lengths do, too, so per token."""
    one = row["answers"].get(name)
    return one["decode_s"] / (one["tokens"] - 1) if one is not None and one["tokens"] > 1 else None


def _tpot_ms(answers: Sequence[Mapping[str, Any]]) -> float | None:
    tokens = sum(one["tokens"] - 1 for one in answers)
    return 1000 * sum(one["decode_s"] for one in answers) / tokens if tokens else None


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None

"""What a side achieved on a workload."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.simulate.fleet import Run, Served

EXPLORATION = "exploration"


@dataclass(frozen=True, slots=True)
class TaskMeasures:
    """One task's part."""

    requests: int
    mean_completion_s: float
    speculative_share: float
    mean_k: float


@dataclass(frozen=True, slots=True)
class Measures:
    """Figures of one run. All but `mean_completion_all_s` leave the warm-up out.

    `goodput_per_s` counts requests that met both objectives. `switches` are changes of route between two
    requests of one tenant and task, explorations aside, per hundred requests.
    """

    mean_completion_s: float
    p95_completion_s: float
    mean_completion_all_s: float
    route_share: Mapping[str, float]
    mean_ttft_s: float
    p95_ttft_s: float
    mean_tpot_s: float
    goodput_per_s: float
    tokens_per_s: float
    exploration_share: float
    mean_k: float
    switches: float
    mean_batch: float
    reasons: Mapping[str, float]
    tasks: Mapping[str, TaskMeasures]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def measured(run: Run, *, warmup: float, ttft_s: float, tpot_s: float) -> Measures:
    """The figures of a run, with the objectives that goodput counts by."""
    counted = run.served[int(len(run.served) * warmup) :]
    completions = np.array([served.completion_s for served in counted])
    ttfts = np.array([served.ttft_s for served in counted])
    tpots = np.array([tpot for served in counted if (tpot := served.tpot_s) is not None])
    begun_s = counted[0].job.request.arrival_s
    span_s = max(served.job.finished_s for served in counted) - begun_s
    met = sum(served.ttft_s <= ttft_s and (served.tpot_s or 0.0) <= tpot_s for served in counted)
    decoding_s = sum(served.job.finished_s - served.job.first_token_s for served in counted)
    speculative = _speculative(counted)
    return Measures(
        mean_completion_s=float(completions.mean()),
        p95_completion_s=float(np.percentile(completions, 95)),
        mean_completion_all_s=float(np.mean([served.completion_s for served in run.served])),
        route_share={"speculative": speculative, "vanilla": 1.0 - speculative},
        mean_ttft_s=float(ttfts.mean()),
        p95_ttft_s=float(np.percentile(ttfts, 95)),
        mean_tpot_s=float(tpots.mean()),
        goodput_per_s=met / span_s,
        tokens_per_s=sum(served.job.request.output_tokens for served in counted) / span_s,
        exploration_share=_share(counted, EXPLORATION),
        mean_k=float(np.mean([served.placement.k for served in counted])),
        switches=100.0 * _switches(counted) / len(counted),
        mean_batch=decoding_s / span_s / len(run.busy_s),
        reasons={reason: _share(counted, reason) for reason in sorted(_reasons(counted))},
        tasks=_by_task(counted),
    )


def _by_task(counted: Sequence[Served]) -> Mapping[str, TaskMeasures]:
    groups: dict[str, list[Served]] = defaultdict(list)
    for served in counted:
        groups[served.job.request.task].append(served)
    return {
        task: TaskMeasures(
            requests=len(group),
            mean_completion_s=float(np.mean([served.completion_s for served in group])),
            speculative_share=_speculative(group),
            mean_k=float(np.mean([served.placement.k for served in group])),
        )
        for task, group in sorted(groups.items())
    }


def _speculative(counted: Sequence[Served]) -> float:
    return sum(served.placement.k > 0 for served in counted) / len(counted)


def _share(counted: Sequence[Served], reason: str) -> float:
    return sum(served.placement.reason == reason for served in counted) / len(counted)


def _reasons(counted: Iterable[Served]) -> set[str]:
    return {served.placement.reason for served in counted}


def _switches(counted: Iterable[Served]) -> int:
    last: dict[tuple[str, str], bool] = {}
    switches = 0
    for served in counted:
        if served.placement.reason == EXPLORATION:
            continue
        key = (served.job.request.tenant, served.job.request.task)
        speculative = served.placement.k > 0
        switches += last.get(key, speculative) != speculative
        last[key] = speculative
    return switches

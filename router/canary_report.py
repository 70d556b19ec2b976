"""What is told of a canary: to the log, to the store, over HTTP."""

from __future__ import annotations

from typing import Any

from policies.canary import Comparison, Ratio
from policies.units import format_share
from router.canary import Trial


def stop_sentence(trial: Trial, comparison: Comparison) -> str:
    """Why a candidate was stopped, with the evidence, on one line."""
    parts = [
        f"canary {trial.candidate.label} stopped: worse than {trial.main_label}",
        f"{', '.join(comparison.because)} with {format_share(trial.settings.stop.confidence)} confidence",
        f"total time per token {_words(comparison.total)}",
        f"decode time per token {_words(comparison.decode)}",
        f"requests {comparison.candidate_requests} against {comparison.main_requests}",
        f"failed {comparison.failed.candidate} against {comparison.failed.main}",
        f"cancelled {comparison.cancelled.candidate} against {comparison.cancelled.main}",
    ]
    parts += [f"{task.task} {_words(task.total)}" for task in comparison.tasks]
    return "; ".join(parts)


def stop_record(trial: Trial, comparison: Comparison, now_s: float) -> dict[str, Any]:
    """The record of a stop, for the store and the admin API."""
    return {
        "at": now_s,
        "candidate": trial.candidate.label,
        "main": trial.main_label,
        "confidence": trial.settings.stop.confidence,
        **comparison_entry(comparison),
    }


def trial_entry(trial: Trial) -> dict[str, Any]:
    """Who is tried beside whom, and on what."""
    settings = trial.settings
    return {
        "candidate": {
            "name": trial.candidate.name,
            "revision": trial.candidate.revision,
            "source": trial.candidate.source,
        },
        "main": trial.main_label,
        "share": settings.share,
        "by": settings.by,
        "stop": settings.stop.model_dump(),
        "since": trial.begun_s,
    }


def comparison_entry(comparison: Comparison) -> dict[str, Any]:
    """Requests of both, ratios of times per output token, and the verdict."""
    return {
        "verdict": comparison.verdict,
        "because": list(comparison.because),
        "requests": {"candidate": comparison.candidate_requests, "main": comparison.main_requests},
        "total_time": _entry(comparison.total),
        "decode_time": _entry(comparison.decode),
        "failed": {"candidate": comparison.failed.candidate, "main": comparison.failed.main},
        "cancelled": {"candidate": comparison.cancelled.candidate, "main": comparison.cancelled.main},
        "tasks": [
            {
                "task": task.task,
                "requests": {"candidate": task.candidate_requests, "main": task.main_requests},
                "total_time": _entry(task.total),
                "decode_time": _entry(task.decode),
            }
            for task in comparison.tasks
        ],
    }


def _entry(ratio: Ratio | None) -> dict[str, float] | None:
    """JSON has no infinity: a bound that says nothing is 0, or left out."""
    if ratio is None:
        return None
    return {name: value for name, value in ratio._asdict().items() if value < _NOTHING}


_NOTHING = 1e300


def _words(ratio: Ratio | None) -> str:
    if ratio is None:
        return "unknown"
    return f"{ratio.estimate:.2f} times ({ratio.lower:.2f} to {ratio.upper:.2f})"

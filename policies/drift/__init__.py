"""Notices that acceptance changed: of one task, of a whole drafter, or only of the traffic's mix.

`DriftMonitor` is the whole of it for callers; `forget_factor` says how much of a moved task's old evidence to
keep. Nothing here knows the time or the store.
"""

from __future__ import annotations

from typing import Final

from policies.drift.events import DriftEvent, DriftKind, TaskShare
from policies.drift.monitor import DriftMonitor

__all__ = [
    "FORGET_FACTOR",
    "KEPT_REQUESTS",
    "DriftEvent",
    "DriftKind",
    "DriftMonitor",
    "TaskShare",
    "forget_factor",
]

FORGET_FACTOR: Final = 0.1
"""The most of a cell's evidence that a detected change leaves."""

KEPT_REQUESTS: Final = 2.0
"""A busy task has thousands of requests of evidence: a tenth of it would outvote the next hundreds."""


def forget_factor(requests: float) -> float:
    """What to multiply the counters of a cell of (decayed) `requests` with, once its task moved.

    Its old evidence then weighs as much as KEPT_REQUESTS requests, or FORGET_FACTOR of what it did if that is
    less, so that the new requests outvote it after a few.
    """
    return min(FORGET_FACTOR, KEPT_REQUESTS / requests) if requests > 0 else FORGET_FACTOR

"""What the monitor reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

DriftKind = Literal["task_fell", "task_rose", "drafter_rot", "traffic_shift"]


class TaskShare(NamedTuple):
    """A task's part of the traffic before and after a shift, 0 to 1."""

    task: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class DriftEvent:
    """Something changed on a profile.

    Attributes:
        kind: One task's acceptance fell or rose; most tasks fell, so that the drafter no longer fits its
            target; or the traffic's mix of tasks changed while every task stayed what it was.
        task: The task that moved; None where the event concerns the whole profile.
        at_s: When it was noticed.
        before: Effective acceptance at the reference k before: of the task; of the fallen tasks, by requests;
            or of the traffic.
        after: The same, after.
        requests: The requests, since the change, that it was seen in.
        fallen: The tasks that fell, where the kind is `drafter_rot`.
        gained: Tasks with more of the traffic than before, most first, where it is `traffic_shift`.
    """

    kind: DriftKind
    profile: str
    task: str | None
    at_s: float
    before: float
    after: float
    requests: int
    fallen: tuple[str, ...] = ()
    gained: tuple[TaskShare, ...] = ()

"""What shadow mode would have brought: the times of the arms it served beside those it would have taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from policies.decide import Reason, Score
from router.outcomes import Outcome


@dataclass(slots=True)
class _Sums:
    """Requests of one task, and predicted seconds from arrival to the last token, both ways."""

    requests: int = 0
    speculative: int = 0
    measured: int = 0
    vanilla_s: float = 0.0
    intended_s: float = 0.0

    def add(self, served: Score, intended: Score, *, measured: bool) -> None:
        """Take in one request; `measured` says whether its task has shown what its drafts are worth."""
        self.requests += 1
        self.speculative += intended.k > 0
        self.measured += measured
        self.vanilla_s += _seconds(served)
        self.intended_s += _seconds(intended)

    def merge(self, other: _Sums) -> None:
        """Take in another task."""
        self.requests += other.requests
        self.speculative += other.speculative
        self.measured += other.measured
        self.vanilla_s += other.vanilla_s
        self.intended_s += other.intended_s

    def entry(self) -> dict[str, Any]:
        """The figures; None where there is nothing to divide by."""
        return {
            "requests": self.requests,
            "speculative_share": self.speculative / self.requests if self.requests else None,
            "measured_share": self.measured / self.requests if self.requests else None,
            "predicted_speedup": self.vanilla_s / self.intended_s if self.intended_s > 0 else None,
            "predicted_saving": 1 - self.intended_s / self.vanilla_s if self.vanilla_s > 0 else None,
        }


class Shadow:
    """Receives every outcome, and adds up those that shadow mode served, since the policy last changed."""

    def __init__(self) -> None:
        self._policy: str | None = None
        self._since_s: float | None = None
        self._tasks: dict[str, _Sums] = {}

    def on_outcome(self, outcome: Outcome) -> None:
        """Add one request, as it was predicted: also those that ended early were decided in full."""
        decision = outcome.decision
        if outcome.canary or decision.reason is not Reason.SHADOW or decision.score is None:
            return
        if outcome.policy != self._policy:
            began_s = outcome.at_s - (outcome.total_s or 0.0)
            if self._since_s is not None and began_s < self._since_s:
                return  # a long answer of the policy before: what is added up here goes on
            self._policy, self._since_s, self._tasks = outcome.policy, began_s, {}
        arm = decision.intended
        intended = next((score for score in decision.scores if (score.profile, score.k) == arm), None)
        if intended is not None:
            drafting = [score for score in decision.scores if score.k > 0]
            measured = min(drafting, key=lambda score: score.cost_s).measured if drafting else False
            sums = self._tasks.setdefault(outcome.task, _Sums())
            sums.add(decision.score, intended, measured=measured)

    def report(self) -> dict[str, Any]:
        """Over all tasks and per task: the share that would have speculated, and what that would have saved.

        `predicted_speedup` is time served over time intended, of all requests together; `measured_share`
        tells how many of these predictions stand on evidence of their task, not on what is assumed of it.
        """
        whole = _Sums()
        for sums in self._tasks.values():
            whole.merge(sums)
        return {
            "policy": self._policy,
            "since": self._since_s,
            **whole.entry(),
            "tasks": [{"task": task, **sums.entry()} for task, sums in sorted(self._tasks.items())],
        }


def _seconds(score: Score) -> float:
    return score.wait_s + score.ttft_s + score.decode_s

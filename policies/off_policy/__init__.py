"""Off-policy evaluation: what a candidate policy would have changed, from a log of another one's decisions.

`DecisionRecord` is a line of the log. `replay` decides every record anew under the candidate, by the code
that decides requests, and estimates the effect on latency and on the share of speculative requests.

Estimates are for a single request's change in the situations the log met: a candidate in force for everybody
would also change the load on the pools, what is learned, and where conversations live.
"""

from __future__ import annotations

from policies.off_policy.clusters import Clustering
from policies.off_policy.contexts import logged_context, rounded
from policies.off_policy.estimator import Effect, Interval
from policies.off_policy.record import VERSION, DecisionRecord
from policies.off_policy.report import Part, Replayed, Share, replay
from policies.off_policy.trials import MEASURES, Measure

__all__ = [
    "MEASURES",
    "VERSION",
    "Clustering",
    "DecisionRecord",
    "Effect",
    "Interval",
    "Measure",
    "Part",
    "Replayed",
    "Share",
    "logged_context",
    "replay",
    "rounded",
]

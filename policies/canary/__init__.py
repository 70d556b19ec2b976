"""A canary: who is decided by the next policy, what is counted of both, and when it is surely worse.

`assigned` divides the traffic; `Count` and `Cell` are what is counted of every request, additive over
routers; `compare` turns counts into a verdict that may be asked for at any time, as often as one likes.
"""

from __future__ import annotations

from policies.canary.assignment import TENANT_GROUPS, assigned, tenant_group
from policies.canary.comparison import Comparison, Losses, TaskRatios, Verdict, compare
from policies.canary.evidence import CANCELLED, FAILED, Arm, Cell, Count, Metric, fields_of, parse_fields
from policies.canary.ratios import Ratio
from policies.canary.sequence import boundary, rare_evidence

__all__ = [
    "CANCELLED",
    "FAILED",
    "TENANT_GROUPS",
    "Arm",
    "Cell",
    "Comparison",
    "Count",
    "Losses",
    "Metric",
    "Ratio",
    "TaskRatios",
    "Verdict",
    "assigned",
    "boundary",
    "compare",
    "fields_of",
    "parse_fields",
    "rare_evidence",
    "tenant_group",
]

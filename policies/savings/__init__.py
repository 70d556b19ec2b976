"""What speculation saved, proved by requests that chance kept on plain decoding.

`Observation` is what is seen of a request, `Sums` what is kept of many; `report` turns sums into claims with
intervals, or into the reason why there are none. `capacity` tells from which load on plain decoding alone
would be faster.
"""

from __future__ import annotations

from policies.savings.capacity import BreakEven, Capacity, Drafts, EnginePool, capacity
from policies.savings.capacity_entry import capacity_entry, statement
from policies.savings.claims import NEEDED, Claim, Traffic, Verdict, claim
from policies.savings.estimate import Interval, PlainTime, plain_time, together
from policies.savings.logged import LoggedTraffic, observed
from policies.savings.report import CONFIDENCE, OTHER_TENANTS, Scope, report
from policies.savings.saving import Saving
from policies.savings.strata import LEAST_HELD_OUT, Stratum, strata
from policies.savings.sums import (
    GROUPS,
    LENGTHS,
    OTHERS,
    Cell,
    Group,
    Moments,
    Observation,
    Sums,
    Tally,
    parse_row,
    row_text,
)
from policies.savings.traffic import mean_work, traffic

__all__ = [
    "CONFIDENCE",
    "GROUPS",
    "LEAST_HELD_OUT",
    "LENGTHS",
    "NEEDED",
    "OTHERS",
    "OTHER_TENANTS",
    "BreakEven",
    "Capacity",
    "Cell",
    "Claim",
    "Drafts",
    "EnginePool",
    "Group",
    "Interval",
    "LoggedTraffic",
    "Moments",
    "Observation",
    "PlainTime",
    "Saving",
    "Scope",
    "Stratum",
    "Sums",
    "Tally",
    "Traffic",
    "Verdict",
    "capacity",
    "capacity_entry",
    "claim",
    "mean_work",
    "observed",
    "parse_row",
    "plain_time",
    "report",
    "row_text",
    "statement",
    "strata",
    "together",
    "traffic",
]

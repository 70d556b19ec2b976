"""What one decision costs: estimates, scores of all arms and the choice, for a busy fleet.

200 tenants, 14 tasks and 3 profiles (plain, n-gram, draft model), all cells filled; every decision is
followed by the record of one outcome, as in a running router, and the background refresh takes its turn every
50 ms of simulated time. Times are the thread's own, since the machine is shared. The first decision for a
tenant's task works out two estimates, which later ones find made: `again` leaves those first ones out.

    python -m bench.decision [--decisions 20000] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from random import Random

import numpy as np

from policies.cells import Origin
from policies.cost import StepLoad, StepShape, StepTime, seed
from policies.crowds import Crowds
from policies.decide import Context, Pool, Work, decide
from policies.evidence import RequestSteps
from policies.learner import Drafter, Learner
from policies.loading import parse_policy
from policies.memory import Memory
from policies.memory_evidence import MemoryEvidence
from policies.resolve import PolicyTable
from policies.tasks import TASKS

_TENANTS = 200
_PROFILES = {"vanilla": Drafter("none", 0), "ngram": Drafter("ngram", 8), "draft": Drafter("draft_model", 8)}
_REQUESTS_PER_S = 50.0
_REFRESH_S = 0.05
_POLICY = """
apiVersion: specroute/v1
kind: RoutingPolicy
metadata: {{name: bench}}
spec: {{mode: {mode}}}
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decisions", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    row = measured(options.decisions)
    if options.json:
        print(json.dumps(row))
    else:
        print("\n".join(f"{name:28s} {value:10.1f}" for name, value in row.items()))
    return 0


def measured(decisions: int, *, mode: str = "adaptive", tenants: int = _TENANTS) -> dict[str, float]:
    """Times of the parts of that many decisions by a policy of this mode, in µs, and decisions per second.

    `decisions_per_s` is of one core that does nothing else.
    """
    rng = Random(1)
    learner, memory, crowds = Learner(MemoryEvidence(), _PROFILES), Memory(), Crowds()
    table = PolicyTable(parse_policy(_POLICY.format(mode=mode), "bench"))
    tasks = [task for task in TASKS if task != "other"]
    cells = [(f"tenant-{tenant}", task) for tenant in range(tenants) for task in tasks]
    now_s = 0.0
    for tenant, task in cells:
        for profile in ("ngram", "draft"):
            _record(learner, rng, profile, (tenant, task), now_s)
    pools = _pools()
    taken: list[float] = []
    again: list[float] = []
    known: set[tuple[str, str]] = set()
    recorded: list[float] = []
    refreshed: list[float] = []
    next_refresh_s = now_s
    for _ in range(decisions):
        now_s += rng.expovariate(_REQUESTS_PER_S)
        while next_refresh_s <= now_s:
            started = time.thread_time()
            learner.refresh(next_refresh_s)
            crowds.refresh(next_refresh_s)
            refreshed.append(time.thread_time() - started)
            next_refresh_s += _REFRESH_S
        tenant, task = rng.choice(cells)
        started = time.thread_time()
        policy = table.resolve(tenant=tenant, task=task, now_s=now_s)
        work = Work(300.0, 200.0)
        decision = decide(
            context := Context(
                policy=policy,
                pools=tuple(_crowded(pool, crowds, now_s) for pool in pools),
                estimates={
                    profile: learner.estimate(
                        profile=profile,
                        task=task,
                        temperature="mid",
                        tenant=tenant,
                        policy=policy,
                        now_s=now_s,
                    )
                    for profile in ("ngram", "draft")
                },
                draws=(rng.random(), rng.random(), rng.random()),
                work=work,
                last=memory.last(tenant, task, now_s),
                recent_requests=memory.arrived(task, now_s),
            )
        )
        if decision.score is not None:
            estimate = context.estimates.get(decision.profile)
            crowds.sent(decision.score, estimate, work, now_s, cell=(tenant, task))
        taken.append(time.thread_time() - started)
        if (tenant, task) in known:
            again.append(taken[-1])
        known.add((tenant, task))
        if decision.k:
            started = time.thread_time()
            _record(learner, rng, decision.profile, (tenant, task), now_s)
            recorded.append(time.thread_time() - started)
    share = sum(refreshed) / (now_s or 1.0)
    return {
        "decisions_per_s": len(taken) / sum(taken),
        "decision_p50_us": _percentile_us(taken, 50),
        "decision_p99_us": _percentile_us(taken, 99),
        "decision_max_us": _percentile_us(taken, 100),
        "again_p50_us": _percentile_us(again, 50),
        "again_p99_us": _percentile_us(again, 99),
        "record_p50_us": _percentile_us(recorded, 50),
        "record_p99_us": _percentile_us(recorded, 99),
        "refresh_p50_us": _percentile_us(refreshed, 50),
        "refresh_p99_us": _percentile_us(refreshed, 99),
        "refresh_share_of_core_percent": 100.0 * share,
    }


def _crowded(pool: Pool, crowds: Crowds, now_s: float) -> Pool:
    return pool._replace(**crowds.met(pool, now_s)._asdict())


def _pools() -> tuple[Pool, ...]:
    def timed(shape: StepShape) -> StepTime:
        return seed(shape, 0.03)

    crowd = StepLoad(requests=6, verifying=0.8, drafted=9, asked=4, context=3000)
    return (
        Pool("vanilla", 0, timed(StepShape()), in_flight=6, capacity=16, work=crowd._replace(drafted=0)),
        Pool("ngram", 8, timed(StepShape()), in_flight=6, capacity=16, work=crowd, length=9.0),
        Pool(
            "draft",
            8,
            timed(StepShape(per_draft_token=0.1)),
            drafter_is_model=True,
            in_flight=6,
            capacity=16,
            work=crowd,
            length=12.0,
        ),
    )


def _record(learner: Learner, rng: Random, profile: str, cell: tuple[str, str], now_s: float) -> None:
    tenant, task = cell
    accepted = [min(4, int(rng.expovariate(0.6))) for _ in range(40)]
    origin = Origin(task, "mid", tenant, half_life_s=600.0)
    learner.record(profile, origin, RequestSteps(4, [4] * 40, accepted), now_s)


def _percentile_us(seconds: list[float], percent: float) -> float:
    return float(np.percentile(seconds, percent)) * 1e6 if seconds else 0.0


if __name__ == "__main__":
    sys.exit(main())

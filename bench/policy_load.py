"""How long a policy with very many tenants takes to load, and what it costs a request.

    python -m bench.policy_load [--tenants 1000]

Prints processor time, which a busy machine stretches less than the clock on the wall.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Final

from policies.conflicts import conflicts
from policies.loading import parse_policy, parse_with_warnings
from policies.preferences import parse_preferences
from policies.resolve import PolicyTable
from policies.yaml_tree import read_tree

_TASKS: Final = ("code", "sql", "qa", "creative")
_REPEATS: Final = 5
_RESOLVED: Final = 200_000
_HEAD: Final = """\
apiVersion: specroute/v1
kind: RoutingPolicy
metadata: {name: many-tenants}
spec:
  tasks: {creative: {objective: {min_speedup: 1.2}}}
  schedules:
    - name: night
      when: {from: "22:00", to: "06:00", tz: UTC}
      objective: {class: batch}
  segments:
    premium: {limits: {max_concurrency: 128}, self_service: {threshold: {min: 0.2}}}
    trial: {k: {max: 4}, limits: {max_concurrency: 4}}
"""


def many_tenants(number: int) -> str:
    """A policy with so many tenants, each with settings, and two to four tasks with settings of their own."""
    lines = [_HEAD, "  tenants:\n" if number else ""]
    for index in range(number):
        lines.append(
            f"    tenant-{index:05}:\n"
            f"      segment: {'trial' if index % 3 else 'premium'}\n"
            f"      threshold: {{enable_above: {0.55 + index % 40 / 100:.2f}, disable_below: 0.40}}\n"
            f"      limits: {{deadline: {30 + index % 60}s}}\n"
            "      tasks:\n"
        )
        lines += [
            f"        {task}: {{k: {{max: {5 + index % 7}}}, objective: {{min_speedup: 1.{index % 10}}}}}\n"
            for task in _TASKS[: 2 + index % 3]
        ]
    return "".join(lines)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenants", type=int, default=1000)
    number = parser.parse_args().tenants
    text = many_tenants(number)
    policy = parse_policy(text, "bench")
    print(f"{number} tenants, {len(text) / 1000:.0f} kB; median of {_REPEATS}, processor time")
    _report("load", lambda: parse_policy(text, "bench"))
    _report("  of it reading YAML", lambda: read_tree(text, "bench"))
    _report("  of it comparing layers", lambda: conflicts(policy))
    _report("load with warnings", lambda: parse_with_warnings(text, "bench"))
    _report("table", lambda: PolicyTable(policy))
    print()
    small = PolicyTable(parse_policy(many_tenants(0), "bench"))
    own = parse_preferences({"threshold": {"enable_above": 0.7}})
    for label, table, preferences in (
        ("no tenants", small, None),
        (f"{number} tenants", PolicyTable(policy), None),
        (f"{number} tenants with preferences", PolicyTable(policy), own),
    ):
        names = [f"tenant-{index % max(1, number):05}" for index in range(_RESOLVED)]
        for tenant in names[:number]:
            for task in _TASKS:
                table.resolve(tenant=tenant, task=task, now_s=0.0, preferences=preferences)
        began_s = time.process_time()
        for index, tenant in enumerate(names):
            table.resolve(tenant=tenant, task=_TASKS[index & 3], now_s=0.0, preferences=preferences)
        spent_s = time.process_time() - began_s
        print(f"resolve, {label}: {spent_s / _RESOLVED * 1e9:.0f} ns a request")


def _report(label: str, run: Callable[[], object]) -> None:
    spent_s = []
    for _ in range(_REPEATS):
        began_s = time.process_time()
        run()
        spent_s.append(time.process_time() - began_s)
    print(f"{label}: {statistics.median(spent_s) * 1000:.0f} ms")


if __name__ == "__main__":
    main()

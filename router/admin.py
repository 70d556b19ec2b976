"""What operators may see: evidence, decisions, engines and the policy in force."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from policies.acceptance import measured_length, pooled
from policies.cells import EMPTY_RECORD, CellKey, CellRecord
from router.learning import Learning
from router.outcomes import Outcome
from router.policy_source import PolicySource
from router.pools import Pools
from router.requests import ANONYMOUS
from router.stats import Snapshot

_KEPT_DECISIONS = 1000


class Admin:
    """Reads the router's state for the admin API. Receives every outcome, and keeps the last ones."""

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        learning: Learning,
        pools: Pools,
        policies: PolicySource,
        clock: Callable[[], float],
    ) -> None:
        self._snapshot = snapshot
        self._learning = learning
        self._pools = pools
        self._policies = policies
        self._clock = clock
        self._decisions: deque[dict[str, Any]] = deque(maxlen=_KEPT_DECISIONS)

    def on_outcome(self, outcome: Outcome) -> None:
        """Keep one outcome for `decisions`."""
        self._decisions.append(_decision_entry(outcome))

    def decisions(self, *, limit: int, request_id: str | None = None) -> dict[str, Any]:
        """The newest decisions first."""
        newest: Iterable[dict[str, Any]] = reversed(self._decisions)
        if request_id is not None:
            newest = (entry for entry in newest if entry["request_id"] == request_id)
        return {"decisions": [entry for entry, _ in zip(newest, range(limit), strict=False)]}

    def replicas(self) -> dict[str, Any]:
        """Every pool: whether it answers, and its load."""
        return {
            "pools": [
                {
                    "profile": state.profile.name,
                    "method": state.profile.method,
                    "max_k": state.profile.k,
                    "available": state.available,
                    "in_flight": state.in_flight,
                    "replicas": state.profile.replicas,
                    "capacity": state.profile.max_num_seqs * state.profile.replicas,
                    "last_error": state.last_error,
                    "status": state.status,
                }
                for state in self._pools
            ]
        }

    def policy(self) -> dict[str, Any]:
        """The policy in force, as it was written."""
        return asdict(self._policies.state)

    def alpha(self, *, task: str | None = None, tenant: str | None = None) -> dict[str, Any]:
        """Every cell, and every task over all temperatures; `task` and `tenant` filter."""
        cells = dict(self._snapshot.items())
        rows = [
            self._row(key, record)
            for key, record in [*self._over_temperatures(cells), *sorted(cells.items(), key=_order)]
            if task in {None, key[1]} and tenant in {None, key[3]}
        ]
        return {
            "entries": rows,
            "store_up": self._snapshot.store_up,
            "store_age_s": self._snapshot.age_s(self._clock()),
        }

    def _over_temperatures(
        self, cells: dict[CellKey, CellRecord]
    ) -> list[tuple[tuple[str, str, None, str | None], CellRecord]]:
        now_s = self._clock()
        groups: dict[tuple[str, str, str | None], list[CellKey]] = {}
        for key in cells:
            groups.setdefault((key.profile, key.task, key.tenant), []).append(key)
        result = []
        for (profile, task, tenant), keys in sorted(groups.items(), key=lambda item: str(item[0])):
            half_life_s = self._half_life_s(task, tenant)
            records = [cells[key] for key in keys]
            lifetime: dict[str, int] = {}
            for record in records:
                for name, value in record.lifetime.items():
                    lifetime[name] = lifetime.get(name, 0) + value
            merged = CellRecord(
                counters=pooled([record.decayed_to(now_s, half_life_s) for record in records]),
                lifetime=lifetime,
                updated_at_s=max(
                    (record.updated_at_s for record in records), default=EMPTY_RECORD.updated_at_s
                ),
            )
            result.append(((profile, task, None, tenant), merged))
        return result

    def _half_life_s(self, task: str, tenant: str | None) -> float:
        return self._policies.resolve(tenant=tenant or ANONYMOUS, task=task).acceptance.half_life

    def _row(self, key: tuple[str, str, str | None, str | None], record: CellRecord) -> dict[str, Any]:
        profile, task, temperature, tenant = key
        policy = self._policies.resolve(tenant=tenant or ANONYMOUS, task=task)
        counts = (
            record.counters
            if temperature is None
            else record.decayed_to(self._clock(), policy.acceptance.half_life)
        )
        believed = self._learning.believed(profile, task, counts, policy)
        speculative_steps = counts.get("reached:1", 0.0)
        return {
            "profile": profile,
            "task": task,
            "tenant": tenant,
            "temperature": temperature,
            "alpha": believed.alpha if speculative_steps else None,
            "interval": list(believed.interval) if speculative_steps else None,
            "alpha_by_position": list(believed.acceptance) if speculative_steps else [],
            "coverage": list(believed.coverage) if speculative_steps else [],
            "draft_acceptance_rate": believed.draft_acceptance_rate,
            "acceptance_length": measured_length(counts),
            "steps": counts.get("steps", 0.0),
            "drafted": counts.get("drafted", 0.0),
            "accepted": counts.get("accepted", 0.0),
            "requests": counts.get("requests", 0.0),
            "lifetime": {
                name: record.lifetime.get(name, 0)
                for name in ("steps", "drafted", "accepted", "tokens", "requests")
            },
            "updated_at": record.updated_at_s,
        }


def _order(item: tuple[CellKey, CellRecord]) -> tuple[str, str, str, str]:
    key = item[0]
    return key.profile, key.task, key.temperature, key.tenant or ""


def _decision_entry(outcome: Outcome) -> dict[str, Any]:
    decision, ending = outcome.decision, outcome.ending
    return {
        "request_id": outcome.request.request_id,
        "at": outcome.at_s,
        "tenant": outcome.request.tenant,
        "task": outcome.task,
        "task_confidence": outcome.confidence,
        "temperature": outcome.request.temperature,
        "route": decision.route,
        "profile": decision.profile,
        "k": decision.k,
        "reason": decision.reason.value,
        "propensity": decision.propensity,
        "alpha": decision.alpha,
        "expected_speedup": decision.expected_speedup,
        "intended": decision.intended,
        "policy": outcome.policy,
        "result": outcome.result,
        "status": outcome.status,
        "error": outcome.error,
        "failovers": outcome.failovers,
        "ttft_s": outcome.ttft_s,
        "decode_s": ending.decode_s if ending else None,
        "completion_tokens": ending.completion_tokens if ending else None,
        "steps": len(ending.per_step_accepted) if ending and ending.counted else None,
    }

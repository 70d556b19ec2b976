"""What is known of acceptance, as a table: a row for every cell, and for every task at all temperatures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from policies.acceptance import measured_length, pooled
from policies.cells import EMPTY_RECORD, CellKey, CellRecord, TemperatureBucket
from router.learning import Learning
from router.policy_source import PolicySource
from router.requests import ANONYMOUS
from router.snapshot import Snapshot

_LIFETIME = ("steps", "drafted", "accepted", "tokens", "requests")


class _Name(NamedTuple):
    """What a row is about; None for all temperatures, and for all tenants."""

    profile: str
    task: str
    temperature: TemperatureBucket | None
    tenant: str | None


@dataclass(slots=True)
class _Pair:
    """What engines counted for a row, and what replays of its copying drafter add."""

    counted: CellRecord = EMPTY_RECORD
    replayed: CellRecord = EMPTY_RECORD


class AlphaTable:
    """Reads the evidence for people: plain counters as engines counted them, alpha as it is believed."""

    def __init__(
        self, snapshot: Snapshot, learning: Learning, policies: PolicySource, clock: Callable[[], float]
    ) -> None:
        self._snapshot = snapshot
        self._learning = learning
        self._policies = policies
        self._clock = clock

    def entries(self, *, task: str | None = None, tenant: str | None = None) -> list[dict[str, Any]]:
        """The rows, totals first; `task` and `tenant` filter."""
        # A tenant may ask for its own as often as it likes: of others' cells nothing is worked out.
        cells = self._cells(None if tenant is None else {tenant})
        rows = sorted(_over_temperatures(cells).items(), key=_order) + sorted(cells.items(), key=_order)
        return [
            self._row(name, pair)
            for name, pair in rows
            if task in {None, name.task} and tenant in {None, name.tenant}
        ]

    def totals(self, tenants: Collection[str | None]) -> list[dict[str, Any]]:
        """The rows over all temperatures of these tenants (None: the tasks' own); work for no other."""
        return [
            self._row(name, pair)
            for name, pair in sorted(_over_temperatures(self._cells(tenants)).items(), key=_order)
        ]

    def _cells(self, tenants: Collection[str | None] | None = None) -> dict[_Name, _Pair]:
        """Every cell, or those of some tenants, decayed to now, with its replays beside it."""
        now_s = self._clock()
        cells: dict[_Name, _Pair] = {}
        for key in self._snapshot:
            if tenants is not None and key.tenant not in tenants:
                continue
            record = self._snapshot[key]
            name = _Name(key.served_profile, key.task, key.temperature, key.tenant)
            decayed = CellRecord(
                record.decayed_to(now_s, self._half_life_s(key)), record.lifetime, record.updated_at_s
            )
            pair = cells.setdefault(name, _Pair())
            if key.is_of_replays:
                pair.replayed = decayed
            else:
                pair.counted = decayed
        return cells

    def _half_life_s(self, key: CellKey) -> float:
        return self._policies.resolve(tenant=key.tenant or ANONYMOUS, task=key.task).acceptance.half_life

    def _row(self, name: _Name, pair: _Pair) -> dict[str, Any]:
        policy = self._policies.resolve(tenant=name.tenant or ANONYMOUS, task=name.task)
        counts, replayed = pair.counted.counters, pair.replayed.counters
        profile = CellKey(name.profile, name.task, "low").of_replays().profile if replayed else name.profile
        believed = self._learning.believed(profile, name.task, replayed or counts, policy)
        known = bool(replayed.get("requests") or counts.get("reached:1"))
        return {
            **name._asdict(),
            "alpha": believed.alpha if known else None,
            "interval": list(believed.interval) if known else None,
            "alpha_by_position": list(believed.acceptance) if known else [],
            "coverage": list(believed.coverage) if known else [],
            "draft_acceptance_rate": believed.draft_acceptance_rate,
            "acceptance_length": measured_length(counts),
            "steps": counts.get("steps", 0.0),
            "drafted": counts.get("drafted", 0.0),
            "accepted": counts.get("accepted", 0.0),
            "requests": counts.get("requests", 0.0),
            "replayed_requests": replayed.get("requests", 0.0),
            "lifetime": {field: pair.counted.lifetime.get(field, 0) for field in _LIFETIME},
            "updated_at": max(pair.counted.updated_at_s, pair.replayed.updated_at_s),
        }


def _over_temperatures(cells: Mapping[_Name, _Pair]) -> dict[_Name, _Pair]:
    groups: dict[_Name, list[_Pair]] = {}
    for name, pair in cells.items():
        groups.setdefault(name._replace(temperature=None), []).append(pair)
    return {
        name: _Pair(_sum(pair.counted for pair in pairs), _sum(pair.replayed for pair in pairs))
        for name, pairs in groups.items()
    }


def _sum(records: Iterator[CellRecord]) -> CellRecord:
    listed = list(records)
    lifetime: dict[str, int] = {}
    for record in listed:
        for field, value in record.lifetime.items():
            lifetime[field] = lifetime.get(field, 0) + value
    return CellRecord(
        counters=pooled(record.counters for record in listed),
        lifetime=lifetime,
        updated_at_s=max(record.updated_at_s for record in listed),
    )


def _order(item: tuple[_Name, _Pair]) -> tuple[str, ...]:
    return tuple(part or "" for part in item[0])

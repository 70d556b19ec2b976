"""What changes for whom between two policies, in words and as JSON."""

from __future__ import annotations

import json
from typing import Any

from policies.diff import Difference, Where
from policies.problems import show

_NAMED_TENANTS = 20
_EXCEPTED_TENANTS = 5
"""More than a line has room for are counted; JSON names them all."""


def difference_entry(row: Difference) -> dict[str, Any]:
    """One difference as JSON."""
    return {
        **_where_entry(row.where),
        "path": row.path,
        "before": row.before,
        "after": row.after,
        "exceptions": [_where_entry(where) for where in row.exceptions],
    }


def difference_words(row: Difference) -> dict[str, str]:
    """One difference in words: for whom, from what to what, and who is excepted ('' for nobody)."""
    besides = "; ".join(named(other, shorten=True) for other in _exceptions(row))
    return {
        "who": named(row.where),
        "change": f"{_value(row.before)} → {_value(row.after)}",
        "except": besides,
    }


def _exceptions(row: Difference) -> list[Where]:
    """Hours that are those of the row go without saying."""
    hours = row.where.hours
    return [other._replace(hours=None) if other.hours == hours else other for other in row.exceptions]


def _value(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str | bool):
        return show(value).strip("'")
    return json.dumps(value).replace('"', "")


def named(where: Where, *, shorten: bool = False) -> str:
    """For whom and when, in words."""
    parts = []
    if where.tenants:
        parts.append(_tenants(where.tenants, shorten=shorten))
    if where.segment is not None:
        parts.append(f"segment {where.segment}")
    if where.task is not None:
        parts.append(f"task {where.task}")
    if where.hours is not None:
        parts = [*(parts or ["everyone"]), _hours(*where.hours)]
    return ", ".join(parts) or "everyone"


def _tenants(names: tuple[str, ...], *, shorten: bool) -> str:
    shown = names[: _EXCEPTED_TENANTS if shorten else _NAMED_TENANTS]
    rest = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return f"tenant{'s' if len(names) > 1 else ''} {', '.join(shown)}{rest}"


def _hours(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    ended = [name for name in before if name not in after]
    begun = [name for name in after if name not in before]
    kept = [name for name in after if name in before]
    told = [f"{' and '.join(kept)} {'apply' if len(kept) > 1 else 'applies'}"] if kept else []
    if ended and begun:
        told.append(f"{' and '.join(begun)} applies instead of {' and '.join(ended)}")
    elif begun:
        told.append(f"{' and '.join(begun)} newly applies")
    elif ended:
        told.append(f"{' and '.join(ended)} no longer applies")
    return f"while {' and '.join(told)}" if told else "while no schedule applies"


def _where_entry(where: Where) -> dict[str, Any]:
    hours = None if where.hours is None else {"before": where.hours[0], "after": where.hours[1]}
    return {"segment": where.segment, "tenants": where.tenants, "task": where.task, "schedules": hours}

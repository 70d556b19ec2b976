"""For whom a policy can differ: everyone, a task, a segment, a tenant, or a task of either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from policies.schema import RoutingPolicy


class Scope(NamedTuple):
    """Whom a value holds for; all None is everyone. Never both a segment and a tenant."""

    segment: str | None = None
    tenant: str | None = None
    task: str | None = None


EVERYONE: Final = Scope()


class Scopes:
    """The scopes of two policies: what either of them names.

    A segment counts where both have it: one that only one of them has says nothing about what changes for its
    tenants, who are told by themselves.
    """

    def __init__(self, old: RoutingPolicy, new: RoutingPolicy) -> None:
        self._old, self._new = old.spec, new.spec
        self._segments = tuple(segment for segment in self._new.segments if segment in self._old.segments)

    def __iter__(self) -> Iterator[Scope]:
        """Every scope, broader ones first."""
        yield EVERYONE
        for task in dict.fromkeys((*self._new.tasks, *self._old.tasks)):
            yield Scope(task=task)
        for segment in self._segments:
            yield Scope(segment=segment)
            old, new = (spec.tasks_of(segment=segment) for spec in (self._old, self._new))
            for task in dict.fromkeys((*new, *old)):
                yield Scope(segment=segment, task=task)
        for tenant in dict.fromkeys((*self._new.tenants, *self._old.tenants)):
            yield Scope(tenant=tenant)
            for task in dict.fromkeys((*self._new.tasks_of(tenant), *self._old.tasks_of(tenant))):
                yield Scope(tenant=tenant, task=task)

    def broader(self, scope: Scope) -> list[Scope]:
        """The scopes that a scope inherits from, the strongest first: the order of a policy's layers."""
        segment, tenant, task = scope
        found: list[Scope] = []
        if tenant is not None:
            if task is not None:
                found.append(Scope(tenant=tenant))
            own = self._new.tenants.get(tenant)
            if own is not None and own.segment in self._segments:
                found += [Scope(segment=own.segment, task=task), Scope(segment=own.segment)]
        elif segment is not None and task is not None:
            found.append(Scope(segment=segment))
        if task is not None and (tenant is not None or segment is not None):
            found.append(Scope(task=task))
        return list(dict.fromkeys([*found, *([EVERYONE] if scope != EVERYONE else [])]))

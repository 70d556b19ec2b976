"""Outlier ejection: who fails is left alone for a while, unless nearly everybody does.

Each member (a pool, or a replica of one) is *in*, *out* until a time, or *half open*: its time is over, and
nobody has seen it work yet. Formulas, after Envoy's outlier detection:

    out for  = min(max_s, base_s · count)      count: ejections that are not forgiven yet
    eject    only while (ejected + 1) / members ≤ max(max_share, 1 / members)
    panic    when (members - away) / members < panic_below: then nobody counts as away

One ejection is forgiven for every `max_s` that a member was in. A failure while a member is out is one more
witness of the failure that put it there, and changes nothing. Time is passed in; there is no clock here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Standing = Literal["in", "out", "half_open"]


class EjectionSettings(NamedTuple):
    """How fast, how long and how many; times in seconds."""

    failures: int = 1
    """That many in a row eject. A failure here is an engine that broke off, not an answer that displeases."""
    base_s: float = 2.0
    max_s: float = 60.0
    max_share: float = 0.5
    panic_below: float = 0.5


DEFAULT_EJECTION: Final = EjectionSettings()


@dataclass(slots=True)
class _Member:
    failures: int = 0
    count: int = 0
    until_s: float | None = None
    """When its time is over; None while it is in."""
    in_since_s: float = 0.0


class Ejections:
    """The standing of some members. What has not failed is in, and takes no memory."""

    def __init__(self, settings: EjectionSettings = DEFAULT_EJECTION) -> None:
        self._settings = settings
        self._members: dict[str, _Member] = {}

    def failed(self, name: str, now_s: float, *, members: int) -> bool:
        """Note a failure of one of `members`; whether it was ejected for it."""
        member = self._members.setdefault(name, _Member(in_since_s=now_s))
        if self.standing(name, now_s) == "out":
            return False
        member.failures += 1
        half_open = member.until_s is not None
        if not half_open and (member.failures < self._settings.failures or not self._has_room(members)):
            return False
        if not half_open:
            forgiven = int((now_s - member.in_since_s) / self._settings.max_s)
            member.count = max(0, member.count - forgiven)
        member.count += 1
        member.until_s = now_s + min(self._settings.max_s, self._settings.base_s * member.count)
        return True

    def worked(self, name: str, now_s: float) -> None:
        """Note that a member works; one that is out stays out until its time is over."""
        member = self._members.get(name)
        if member is None or self.standing(name, now_s) == "out":
            return
        member.failures = 0
        if member.until_s is not None:
            member.until_s, member.in_since_s = None, now_s
        elif now_s - member.in_since_s >= self._settings.max_s * (member.count + 1):
            del self._members[name]

    def forget(self, name: str) -> None:
        """A member is no more."""
        self._members.pop(name, None)

    def standing(self, name: str, now_s: float) -> Standing:
        """How a member stands now."""
        member = self._members.get(name)
        if member is None or member.until_s is None:
            return "in"
        return "out" if now_s < member.until_s else "half_open"

    def count(self, name: str) -> int:
        """Ejections of a member that are not forgiven."""
        member = self._members.get(name)
        return 0 if member is None else member.count

    def half_open(self, now_s: float) -> list[str]:
        """The members that wait for someone to see them work."""
        return [name for name in self._members if self.standing(name, now_s) == "half_open"]

    def away(self, now_s: float, *, members: int) -> frozenset[str]:
        """Whom to leave alone now: those out and half open; nobody in a panic."""
        away = frozenset(name for name in self._members if self.standing(name, now_s) != "in")
        return away if self.calm(len(away), members=members) else frozenset()

    def calm(self, away: int, *, members: int) -> bool:
        """Whether enough of `members` are left with so many away."""
        return members - away >= self._settings.panic_below * members

    def _has_room(self, members: int) -> bool:
        ejected = sum(member.until_s is not None for member in self._members.values())
        return ejected + 1 <= max(1.0, self._settings.max_share * members)

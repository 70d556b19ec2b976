"""Sums over the requests of the last hour, by task and by tenant: what came of them, and how fast."""

from __future__ import annotations

import pickle
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import sub
from typing import Final, NamedTuple, TypeVar

from policies.cost import Accuracy
from policies.decide import Reason
from policies.savings import Group, Observation, Sums
from router.expectations import predicted_decode_s
from router.outcomes import Outcome
from router.savings import observation

WINDOW_S: Final = 3600.0
"""How far back activity is told."""
_PARTS: Final = 12
_MAX_KEYS: Final = 500

T = TypeVar("T")


class Key(NamedTuple):
    """What is counted together. `tenant` None is the task's total over all tenants."""

    task: str
    tenant: str | None = None


class Seen(NamedTuple):
    """What one outcome adds.

    Attributes:
        key: Whose it is.
        arm: Pool and k that answered.
        reason: Why.
        result: How it ended.
        tokens: Of its answer.
        observed: What the savings report counts of it, None where that is nothing.
        decode_s: Its decode time, where it can be compared with a prediction; else 0.
        plain_s: The time that plain decoding is expected to take for it.
        doubt: Relative variance of what corrects that expectation.
    """

    key: Key
    arm: tuple[str, int]
    reason: str
    result: str
    tokens: int = 0
    observed: Observation | None = None
    decode_s: float = 0.0
    plain_s: float = 0.0
    doubt: float = 0.0


@dataclass(slots=True)
class Compared:
    """Sums over requests whose decode times (y) stand beside those expected of plain decoding (x)."""

    n: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0
    doubt: float = 0.0
    """Of `Seen.doubt` times x."""

    def count(self, seen: Seen) -> None:
        """Take in one request."""
        x, y = seen.plain_s, seen.decode_s
        self.n += 1.0
        self.x += x
        self.y += y
        self.xx += x * x
        self.xy += x * y
        self.yy += y * y
        self.doubt += seen.doubt * x

    def merge(self, other: Compared, sign: int = 1) -> None:
        """Take in, or with sign -1 take off, what another counted."""
        for name in _COMPARED:
            setattr(self, name, getattr(self, name) + sign * getattr(other, name))


_COMPARED: Final = ("n", "x", "y", "xx", "xy", "yy", "doubt")


@dataclass(slots=True)
class Tally:
    """Sums of `Seen`."""

    requests: int = 0
    speculative: int = 0
    tokens: int = 0
    results: Counter[str] = field(default_factory=Counter)
    arms: Counter[tuple[str, int]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    savings: dict[Group, Sums] = field(default_factory=dict)
    compared: Compared = field(default_factory=Compared)

    def count(self, seen: Seen, saved: Sums | None) -> None:
        """Take in one request, of which the savings report counts `saved`."""
        self.requests += 1
        self.speculative += seen.arm[1] > 0
        self.tokens += seen.tokens
        self.results[seen.result] += 1
        self.arms[seen.arm] += 1
        self.reasons[seen.reason] += 1
        if saved is not None and seen.observed is not None:
            group = seen.observed.group
            before = self.savings.get(group)
            self.savings[group] = saved if before is None else before + saved
        if seen.plain_s > 0:
            self.compared.count(seen)

    def merge(self, other: Tally, sign: int = 1) -> None:
        """Take in, or with sign -1 take off, what another counted."""
        self.requests += sign * other.requests
        self.speculative += sign * other.speculative
        self.tokens += sign * other.tokens
        _merge(self.results, other.results, sign)
        _merge(self.arms, other.arms, sign)
        _merge(self.reasons, other.reasons, sign)
        for group, sums in other.savings.items():
            mine = self.savings.get(group, Sums())
            found = mine + sums if sign > 0 else Sums(tuple(map(sub, mine.row, sums.row)))
            self.savings[group] = found
            if not found.tally.requests and not found.tally.lost:
                del self.savings[group]
        if other.compared.n:
            self.compared.merge(other.compared, sign)


class Activity:
    """The tallies of the last hour: twelve parts of five minutes, the oldest of which is forgotten as one.

    Memory is bounded: of more than 500 tasks of tenants in a part, the further ones count in their task's
    total only. A part that is over is needed once more, when it is forgotten: it is kept packed, in a
    twentieth of the room.
    """

    def __init__(self) -> None:
        self._part: dict[Key, Tally] = {}
        self._begins_s: deque[float] = deque()
        """Of the packed parts, and of the one that is added to."""
        self._packed: deque[bytes] = deque()
        self._totals: dict[Key, Tally] = {}

    def add(self, seen: Seen, now_s: float) -> None:
        """Count one request, for its tenant and for everybody."""
        self.forget(now_s)
        if not self._begins_s or now_s - self._begins_s[-1] >= WINDOW_S / _PARTS:
            if self._begins_s:
                self._packed.append(_packed(self._part))
            self._begins_s.append(now_s)
            self._part = {}
        part = self._part
        saved = None if seen.observed is None else Sums.of(seen.observed)
        for key in (seen.key._replace(tenant=None), seen.key):
            if key.tenant is not None and key not in part and len(part) >= _MAX_KEYS:
                continue
            for tallies in (part, self._totals):
                if key not in tallies:
                    tallies[key] = Tally()
                tallies[key].count(seen, saved)

    def forget(self, now_s: float) -> None:
        """Take off what is an hour old."""
        while self._begins_s and now_s - self._begins_s[0] >= WINDOW_S:
            self._begins_s.popleft()
            for key, tally in self._oldest().items():
                total = self._totals[key]
                total.merge(tally, -1)
                if total.requests <= 0:
                    del self._totals[key]

    def since_s(self) -> float | None:
        """When the oldest part begins; None without any."""
        return self._begins_s[0] if self._begins_s else None

    def _oldest(self) -> dict[Key, Tally]:
        if self._packed:
            return _unpacked(self._packed.popleft())
        part, self._part = self._part, {}
        return part

    def of(self, tenant: str | None) -> dict[str, Tally]:
        """The tenant's tallies by task; None: everybody's."""
        return {key.task: tally for key, tally in self._totals.items() if key.tenant == tenant}

    def by_tenant(self) -> dict[str, dict[str, Tally]]:
        """Every tenant's tallies by task."""
        found: dict[str, dict[str, Tally]] = {}
        for key, tally in self._totals.items():
            if key.tenant is not None:
                found.setdefault(key.tenant, {})[key.task] = tally
        return found


def seen(outcome: Outcome, accuracy: Callable[[str, float], Accuracy | None]) -> Seen:
    """What an outcome adds; `accuracy` tells how well a pool's decode times are predicted.

    What plain decoding is expected to take is the best plain arm's prediction for as many tokens, corrected
    by how far such predictions were off for plain requests that were measured; nothing while there were none.
    A request that was decoded plainly is its own comparison.
    """
    decision, ending = outcome.decision, outcome.ending
    about = Seen(
        Key(outcome.task, outcome.request.tenant),
        (decision.profile, decision.k),
        decision.reason.value,
        outcome.result,
        ending.completion_tokens if ending else 0,
        observation(outcome),
    )
    decode_s = ending.decode_s if ending and not outcome.failovers else None
    if outcome.result != "completed" or ending is None or not decode_s or decision.reason is Reason.HOLDOUT:
        return about
    plain = [score for score in decision.scores if not score.k]
    best = min(plain, key=lambda score: score.cost_s, default=None)
    known = accuracy(best.profile, outcome.at_s) if best else None
    expected_s = predicted_decode_s(best, outcome.work, ending.completion_tokens)
    if known is None or not expected_s:
        return about
    if not decision.k:
        return about._replace(decode_s=decode_s, plain_s=decode_s)
    return about._replace(
        decode_s=decode_s,
        plain_s=expected_s / known.ratio,
        doubt=known.spread**2 / max(1.0, known.requests),
    )


def _packed(part: dict[Key, Tally]) -> bytes:
    return zlib.compress(pickle.dumps(part, pickle.HIGHEST_PROTOCOL), 1)


def _unpacked(packed: bytes) -> dict[Key, Tally]:
    part: dict[Key, Tally] = pickle.loads(zlib.decompress(packed))  # noqa: S301 - from this process's memory
    return part


def _merge(mine: Counter[T], theirs: Counter[T], sign: int) -> None:
    for name, count in theirs.items():
        mine[name] += sign * count
        if not mine[name]:
            del mine[name]


def tallies_of(activity: Activity, tenant: str | None) -> Iterator[tuple[str, Tally]]:
    """Tasks and tallies, the busiest first."""
    yield from sorted(activity.of(tenant).items(), key=lambda item: (-item[1].requests, item[0]))

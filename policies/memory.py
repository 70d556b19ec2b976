"""What a router remembers between requests, besides evidence: choices, conversations, traffic.

Everything is bounded, forgets the longest unused first, and is told the time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from policies.cells import decay_factor
from policies.decide.context import Last, Route

MAX_TASKS: Final = 20_000
"""Combinations of tenant and task whose last choice is remembered."""
MAX_CONVERSATIONS: Final = 50_000

TRAFFIC_HALF_LIFE_S: Final = 300.0

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """A mapping of the `size` entries that were set last."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key) -> _Value | None:
        """The value, None where there is none."""
        return self._entries.get(key)

    def set(self, key: _Key, value: _Value) -> None:
        """Remember the value as the newest."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def forget(self, over: Callable[[_Value], bool]) -> None:
        """Drop the oldest entries, up to the first whose value is not `over`."""
        while self._entries:
            oldest = next(iter(self._entries))
            if not over(self._entries[oldest]):
                return
            del self._entries[oldest]

    def __len__(self) -> int:
        return len(self._entries)


class _Settled(NamedTuple):
    route: Route
    since_s: float


class _Traffic(NamedTuple):
    requests: float
    at_s: float


class Home(NamedTuple):
    """Where a conversation's last turn was answered.

    Attributes:
        profile: The pool.
        replica: The replica of the pool; empty where it did not say.
        tokens: Tokens of the conversation up to the turn's end, which its prefix cache should hold.
    """

    profile: str
    replica: str
    tokens: float


class _Turn(NamedTuple):
    home: Home
    at_s: float


class _Conversations:
    """Where conversations were answered, for as long as anybody asks for."""

    def __init__(self) -> None:
        self._turns: Recent[str, _Turn] = Recent(MAX_CONVERSATIONS)
        self._longest_s: float | None = None
        """The longest affinity that was asked for; until then nothing is forgotten for its age."""

    def get(self, conversation: str | None, affinity_s: float) -> _Turn | None:
        self._longest_s = max(affinity_s, self._longest_s or 0.0)
        return None if conversation is None else self._turns.get(conversation)

    def set(self, conversation: str, turn: _Turn) -> None:
        self._turns.set(conversation, turn)
        if (longest_s := self._longest_s) is not None:
            self._turns.forget(lambda old: turn.at_s - old.at_s > longest_s)

    def __len__(self) -> int:
        return len(self._turns)


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of one router.

    `starting` are routes by task, of a calibration: until a tenant's first request of the task it is taken to
    have settled on them long ago. What a canary settles on is remembered apart, since it must not sway the
    policy beside it; it begins with what that policy settled on.
    """

    starting: Mapping[str, Route] = field(default_factory=dict)
    _settled: Recent[tuple[str, str, bool], _Settled] = field(default_factory=lambda: Recent(MAX_TASKS))
    _traffic: Recent[str, _Traffic] = field(default_factory=lambda: Recent(MAX_TASKS))
    _turns: _Conversations = field(default_factory=_Conversations)

    def last(self, tenant: str, task: str, now_s: float, *, canary: bool = False) -> Last | None:
        """What evidence favoured for this tenant and task before; None where nothing was decided yet."""
        settled = self._settled_on(tenant, task, canary)
        return None if settled is None else Last(settled.route, max(0.0, now_s - settled.since_s))

    def settle(self, tenant: str, task: str, route: Route, now_s: float, *, canary: bool = False) -> None:
        """Note what evidence favours; the first choice counts as an old one, nothing was changed."""
        before = self._settled_on(tenant, task, canary)
        since_s = now_s if before is not None else float("-inf")
        if before is not None and before.route == route:
            since_s = before.since_s
        self._settled.set((tenant, task, canary), _Settled(route, since_s))

    def _settled_on(self, tenant: str, task: str, canary: bool) -> _Settled | None:
        settled = self._settled.get((tenant, task, canary))
        if settled is None and canary:
            settled = self._settled.get((tenant, task, False))
        if settled is None and (route := self.starting.get(task)) is not None:
            return _Settled(route, float("-inf"))
        return settled

    def arrived(self, task: str, now_s: float) -> float:
        """Count a request of the task; how many came before it, older ones weighing less."""
        before = self._traffic.get(task) or _Traffic(0.0, now_s)
        requests = before.requests * decay_factor(now_s - before.at_s, TRAFFIC_HALF_LIFE_S)
        self._traffic.set(task, _Traffic(requests + 1.0, max(now_s, before.at_s)))
        return requests

    def home(self, conversation: str | None, affinity_s: float, now_s: float) -> Home | None:
        """Where a prefix cache should hold the conversation so far; None where it was not heard of lately."""
        turn = self._turns.get(conversation, affinity_s)
        if turn is None or not 0.0 <= now_s - turn.at_s <= affinity_s:
            return None
        return turn.home

    def said(self, conversation: str | None, home: Home, now_s: float) -> None:
        """Note where a turn was answered."""
        if conversation is not None:
            self._turns.set(conversation, _Turn(home, now_s))

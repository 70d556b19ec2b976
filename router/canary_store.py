"""Where routers add up what they counted of a canary: a small protocol, the store behind it, and a fake."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from router.scripts import StoreConnection, load_script
from router.stats_protocol import FlushId, StoreUnavailableError
from router.store_records import KeyNames

_KEPT_S: Final = 30 * 24 * 3600


class TrialName(NamedTuple):
    """A candidate beside the policy it is compared with, by their revisions."""

    candidate: str
    main: str


class TrialRecord(NamedTuple):
    """What all routers counted, under flat names, and why the candidate was stopped; empty if it was not."""

    sums: Mapping[str, float]
    stopped: str


class CanaryStore(Protocol):
    """A store of trials. Every method may raise StoreUnavailableError, quickly."""

    async def add(self, trial: TrialName, flush: FlushId, sums: Mapping[str, float]) -> TrialRecord:
        """Add sums to a trial's, once per flush id, and read it."""
        ...

    async def stop(self, candidate: str, why: str) -> str:
        """Stop a candidate for good; what stands in the store then, which the first to stop it wrote."""
        ...


class ConnectedCanaries:
    """A CanaryStore in Redis: a hash for each trial, and one of stops.

    Trials expire 30 days after their last request. Stops do not: a candidate that was found to be worse
    stays out until its text is another.
    """

    def __init__(self, connection: StoreConnection, model: str) -> None:
        self._connection = connection
        self._prefix = KeyNames(model).prefix + "policy:canary"
        self._stopped = f"{self._prefix}:stopped"
        self._script = load_script("add_canary.lua")

    async def add(self, trial: TrialName, flush: FlushId, sums: Mapping[str, float]) -> TrialRecord:
        """See CanaryStore.add."""
        keys = [f"{self._prefix}:{trial.candidate}:{trial.main}", self._stopped]
        arguments = [str(_KEPT_S), flush.writer, str(flush.number), trial.candidate]
        for name, value in sums.items():
            arguments += (name, f"{value:.17g}")
        stopped, *flat = await self._connection.run_script(self._script, keys, arguments)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        found = {name.decode("utf-8", "replace"): _number(value) for name, value in pairs}
        return TrialRecord(found, stopped.decode("utf-8", "replace"))

    async def stop(self, candidate: str, why: str) -> str:
        """See CanaryStore.stop."""
        await self._connection.command("HSETNX", self._stopped, candidate, why)
        stands: bytes | None = await self._connection.command("HGET", self._stopped, candidate)
        return why if stands is None else stands.decode("utf-8", "replace")


@dataclass
class FakeCanaryStore:
    """A CanaryStore in memory.

    Attributes:
        down: Every call fails.
        lose_replies: How many of the next additions are done but answered with a failure.
    """

    down: bool = False
    lose_replies: int = 0
    trials: dict[TrialName, dict[str, float]] = field(default_factory=dict)
    stops: dict[str, str] = field(default_factory=dict)
    _flushed: dict[tuple[TrialName, str], int] = field(default_factory=dict)

    async def add(self, trial: TrialName, flush: FlushId, sums: Mapping[str, float]) -> TrialRecord:
        """See CanaryStore.add."""
        self._answer()
        kept = self.trials.setdefault(trial, {})
        if sums and flush.number > self._flushed.get((trial, flush.writer), 0):
            self._flushed[trial, flush.writer] = flush.number
            for name, value in sums.items():
                kept[name] = kept.get(name, 0.0) + value
        if self.lose_replies:
            self.lose_replies -= 1
            raise StoreUnavailableError("the fake store lost its reply")
        return TrialRecord(dict(kept), self.stops.get(trial.candidate, ""))

    async def stop(self, candidate: str, why: str) -> str:
        """See CanaryStore.stop."""
        self._answer()
        return self.stops.setdefault(candidate, why)

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailableError("the fake store is down")


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

"""Follows a canary: begins its trial, adds up what all routers see of it, and ends it when it is worse."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from policies.canary import Cell, Comparison, Count
from router.canary import Canary, CandidateFile, Trial, trial
from router.canary_report import stop_record, stop_sentence
from router.canary_store import CanaryStore, TrialName
from router.canary_trial import TrialCounts
from router.outcomes import Outcome
from router.policy_file import Loaded
from router.policy_source import PolicySource
from router.stats_protocol import StoreError

_log = logging.getLogger(__name__)

Phase = Literal["off", "broken", "waiting", "running", "stopped"]
"""No canary in the policy; its candidate cannot be used; not known yet whether it was stopped; deciding its
share; found to be worse."""

_UNEXPECTED: Final = "an unexpected failure, which the service's log tells; it is tried again every second"
_KILL_SWITCH: Final = "mode always_vanilla holds for everyone, so no canary runs beside it"


@dataclass(frozen=True, slots=True)
class CanaryState:
    """What there is to tell. `why` says why it is off or broken, `stopped` is the record of its stop."""

    phase: Phase
    why: str = ""
    trial: Trial | None = None
    comparison: Comparison | None = None
    stopped: dict[str, Any] | None = None


class CanaryWatch:
    """Keeps the canary as the policy in force describes it. Receives every outcome.

    A candidate does not run before the store has said that no router stopped it; once it runs, an outage of
    the store leaves each router with what it sees itself. A stop is told to the store until it is there.
    """

    def __init__(
        self,
        canary: Canary,
        policies: PolicySource,
        *,
        folder: Path | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.state = CanaryState("off")
        self.stops = 0
        self._canary = canary
        self._policies = policies
        self._file = CandidateFile(folder)
        self._clock = clock
        self._sleep = sleep
        self._counts: TrialCounts | None = None
        self._judged: dict[Cell, Count] = {}
        self._stopped: dict[str, str] = {}

    def on_outcome(self, outcome: Outcome) -> None:
        """Count one outcome of the trial that runs."""
        if self._counts is not None and self._canary.trial is self._counts.trial:
            self._counts.note(outcome)

    async def run(self, store: CanaryStore, interval_s: float) -> None:
        """Step for as long as the task lives."""
        while True:
            try:
                await self.step(store)
            except Exception:  # noqa: BLE001 - a loop that ended would never stop a harmful candidate
                _log.exception("canary: unexpected failure; the policy in force decides all")
                self._canary.trial = None
                self.state = CanaryState("broken", _UNEXPECTED)
            await self._sleep(interval_s)

    async def step(self, store: CanaryStore) -> None:
        """Look at the policy and the candidate, talk to the store, compare."""
        policy, revision = self._policies.policy, self._policies.state.revision
        settings = policy.spec.canary
        if settings is None or policy.spec.mode == "always_vanilla":
            self._end(CanaryState("off", "" if settings is None else _KILL_SWITCH))
            return
        found = await asyncio.to_thread(self._file.look, settings.policy)
        if self._policies.state.revision != revision:
            return  # the next step knows what to do
        if isinstance(found, str):
            if self.state.why != found:
                _log.error("canary rejected, %s decides all:\n%s", self._policies.label, found)
            self._end(CanaryState("broken", found))
            return
        counts = self._counts_of(found)
        self._follow_clock(counts)
        answered = await self._exchange(store, counts)
        if self._policies.state.revision != revision:
            return
        why = self._stopped.get(found.revision)
        if why is None and (answered or self._canary.trial is counts.trial):
            await self._judge(store, counts)
        elif why is None:
            self._canary.trial = None
            self.state = CanaryState(
                "waiting", "the store has not said yet whether it was stopped", counts.trial
            )
        else:
            self._stand_still(counts, why)

    def _counts_of(self, candidate: Loaded) -> TrialCounts:
        settings = self._policies.policy.spec.canary
        assert settings is not None  # noqa: S101 - the caller has looked
        name = TrialName(candidate.revision, self._policies.state.revision)
        if self._counts is None or self._counts.trial.name != name:
            self._counts = TrialCounts(trial(candidate, self._policies, settings, self._clock()))
        return self._counts

    def _follow_clock(self, counts: TrialCounts) -> None:
        """Where the clock was set back, the trial begins now: it has to count what comes from here on."""
        if (now_s := self._clock()) < counts.trial.begun_s:
            running = self._canary.trial is counts.trial
            counts.trial = replace(counts.trial, begun_s=now_s)
            if running:
                self._canary.trial = counts.trial

    async def _exchange(self, store: CanaryStore, counts: TrialCounts) -> bool:
        """Send what was counted and read what all have; False when the store did not answer."""
        flush, sums = counts.next_flush()
        candidate = counts.trial.name.candidate
        try:
            record = await store.add(counts.trial.name, flush, sums)
            counts.finish_flush(record.sums)
            if candidate in self._stopped and not record.stopped:
                await store.stop(candidate, self._stopped[candidate])
        except StoreError:
            return False
        if record.stopped and candidate not in self._stopped:
            self._stopped[candidate] = record.stopped
            _log.warning("canary %s is out: it was found to be worse before", counts.trial.candidate.label)
        return True

    async def _judge(self, store: CanaryStore, counts: TrialCounts) -> None:
        known = counts.known()
        if self.state.phase == "running" and self.state.trial is counts.trial and known == self._judged:
            return
        comparison = await asyncio.to_thread(counts.compare, known)
        if self._policies.state.revision != counts.trial.name.main:
            return
        self._judged = known
        if comparison.verdict != "worse":
            if self._canary.trial is not counts.trial:
                # Only now do both decide: earlier requests, while the store was awaited, are no comparison.
                counts.trial = replace(counts.trial, begun_s=self._clock())
                self._canary.trial = counts.trial
                _log.info("canary %s runs beside %s", counts.trial.candidate.label, counts.trial.main_label)
            self.state = CanaryState("running", trial=counts.trial, comparison=comparison)
            return
        self._canary.trial = None
        self.stops += 1
        record = stop_record(counts.trial, comparison, self._clock())
        _log.error("%s", stop_sentence(counts.trial, comparison))
        candidate = counts.trial.name.candidate
        self._stopped[candidate] = json.dumps(record)
        self._stand_still(counts, self._stopped[candidate], comparison)
        try:
            await store.stop(candidate, self._stopped[candidate])
        except StoreError:
            _log.warning("the store does not know yet that canary %s is out", counts.trial.candidate.label)

    def _stand_still(self, counts: TrialCounts, why: str, comparison: Comparison | None = None) -> None:
        self._canary.trial = None
        known = self.state.comparison if self.state.trial is counts.trial else None
        self.state = CanaryState(
            "stopped", trial=counts.trial, comparison=comparison or known, stopped=_record(why)
        )

    def _end(self, state: CanaryState) -> None:
        self._canary.trial = None
        self._counts = None
        self.state = state


def _record(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

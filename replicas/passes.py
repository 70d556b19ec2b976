"""Target passes, timed in vLLM's engine core and sent to its front end.

A pass's record rides on the statistics that vLLM sends with every output anyway, in the place that is meant
for such accounts: `SchedulerStats.perf_stats.debug_stats`. Our logger stands before vLLM's own and takes it
off again. Tested against vLLM 0.32.0; tests/engine/test_step_records.py is the contract.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.perf import DebugPerfStats, PerfStats

from policies.cost.steps import StepLoad

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.engine import EngineCoreOutputs
    from vllm.v1.metrics.stats import SchedulerStats
    from vllm.v1.request import Request

_PREFIX: Final = "specroute_"
_KEYS: Final = tuple(_PREFIX + name for name in StepLoad._fields)
_NANOSECONDS: Final = _PREFIX + "nanoseconds"

PassHook = Callable[[StepLoad, float], None]
"""Receives what a pass worked on, and its seconds."""


class PassTimer:
    """Seconds from one pass to the next while there is work, scheduling and book-keeping included.

    That is what a token waits for. An engine that schedules ahead has begun the next pass before the last one
    ended, so only the distances between ends mean anything; after a rest a pass counts from its scheduling.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._since: float | None = None

    def scheduled(self) -> None:
        """A pass is about to be scheduled."""
        if self._since is None:
            self._since = self._clock()

    def ended(self, *, busy: bool) -> float | None:
        """The seconds of the pass whose output was booked; `busy` when others follow at once."""
        now, since = self._clock(), self._since
        self._since = now if busy else None
        return None if since is None else now - since


def pass_load(
    output: SchedulerOutput, requests: Mapping[str, Request], *, drafter_is_model: bool
) -> StepLoad | None:
    """What a target pass works on, before its output is booked; None for one without work.

    A request decodes when it computes its last token, and drafts behind it. All else computes tokens that
    were there before: a prompt, or after a preemption an answer so far.
    """
    if not output.total_num_scheduled_tokens:
        return None
    decoding = drafted = context = prefill = 0
    drafts_of = output.scheduled_spec_decode_tokens
    for request_id, tokens in output.num_scheduled_tokens.items():
        request = requests.get(request_id)
        drafts = len(drafts_of.get(request_id, ()))
        # A request that is gone ended in the pass before, or was aborted in this one.
        if tokens == 1 + drafts and (request is None or request.num_output_tokens):
            decoding += 1
            drafted += drafts
            context += request.num_tokens if request else 0
        else:
            prefill += tokens
    # A drafting model runs for its cache even where nobody wants drafts.
    asked = max(1, output.num_spec_tokens_to_schedule) if drafter_is_model else 0
    return StepLoad(decoding, 1 if drafted else 0, drafted, asked, context, prefill)


def attach(outputs: Mapping[int, EngineCoreOutputs], load: StepLoad, seconds: float) -> None:
    """Put a pass's record on the statistics in `outputs`; without statistics it is lost."""
    for output in outputs.values():
        stats = output.scheduler_stats
        if stats is None:
            continue
        record = dict(zip(_KEYS, map(int, load), strict=True))
        record[_NANOSECONDS] = int(seconds * 1e9)
        if stats.perf_stats is None:
            stats.perf_stats = PerfStats()
        if stats.perf_stats.debug_stats is None:
            stats.perf_stats.debug_stats = DebugPerfStats()
        debug = stats.perf_stats.debug_stats
        debug.context_breakdown = (debug.context_breakdown or {}) | record
        return


def detached(stats: SchedulerStats | None) -> tuple[StepLoad, float] | None:
    """The record that `attach` left, taken off again, or None."""
    if stats is None or stats.perf_stats is None or (debug := stats.perf_stats.debug_stats) is None:
        return None
    found = debug.context_breakdown
    if not found or _NANOSECONDS not in found:
        return None
    load = StepLoad(*(found.pop(key) for key in _KEYS))
    return load, found.pop(_NANOSECONDS) / 1e9


class PassLogger(StatLoggerBase):  # type: ignore[misc]
    """A vLLM logger that hands every pass's record to a hook, and knows who waits."""

    def __init__(self, hook: PassHook) -> None:
        self._hook = hook
        self.waiting = 0

    def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:  # noqa: ARG002
        """Called by vLLM's front end for every output of the core."""
        if scheduler_stats is None:
            return
        self.waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
        if (found := detached(scheduler_stats)) is not None:
            self._hook(*found)

    def log_engine_initialized(self) -> None:
        """Nothing to say."""

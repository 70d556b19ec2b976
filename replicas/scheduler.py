"""Per-request k and complete step counts, as a vLLM scheduler plug-in.

vLLM fixes the number of draft tokens per server. The classes here, named to vLLM through `scheduler_cls`, let
every request bring its own k in `SamplingParams.extra_args[K_KEY]` and keep a record of every decode step.
They run inside vLLM's engine-core process, so this module must stay importable there on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.metrics.stats import RequestSpecDecodeMetrics

from replicas.drafting import COPYING, CUTS_ONLY
from replicas.orphans import end_with_parent
from replicas.passes import PassTimer, attach, pass_load

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.outputs import DraftTokenIds
    from vllm.v1.request import Request

K_KEY = "specroute_k"

_VllmScheduler: Any = object
"""Stands for either of vLLM's schedulers, which the mix-ins below come before."""


@dataclass
class StepLog(RequestSpecDecodeMetrics):  # type: ignore[misc]
    """vLLM's per-request record, made complete: one entry for every decode step.

    vLLM observes only the steps that verified drafts, and counts accepted tokens before a stop cut them. Here
    a step without drafts is an entry too (drafted 0), and the last step is clipped to the tokens the request
    kept, so that over a finished request: tokens = tokens of the prefill step + sum(1 + accepted).
    """

    observed: tuple[int, int] | None = None

    def observe(self, num_draft_tokens: int, num_accepted: int, detailed: bool = False) -> None:  # noqa: ARG002
        """Hold what vLLM saw of the current step until `close_step` knows what was kept of it."""
        self.observed = (num_draft_tokens, num_accepted)

    def close_step(self, kept: int, *, decode: bool) -> None:
        """Add the entry of one step that left `kept` tokens (>= 1) in the request.

        A prefill step has no entry. In a clipped step only what was kept counts, as drafted and as accepted:
        of the positions behind the cut nothing is known.
        """
        drafted, accepted = self.observed or (0, 0)
        self.observed = None
        if not decode:
            return
        if accepted > kept - 1:
            drafted = accepted = kept - 1
        self.histogram[accepted] += 1
        self.num_draft_tokens += drafted
        self.per_step_accepted.append(accepted)
        self.per_step_drafted.append(drafted)


def draft_limit(request: Request, most: int) -> int:
    """The request's own k, between 0 and `most`; `most` where the request names none."""
    extra = request.sampling_params.extra_args if request.sampling_params else None
    k = extra.get(K_KEY) if extra else None
    return most if k is None else max(0, min(int(k), most))


class _PerRequestK(_VllmScheduler):  # type: ignore[misc]
    """What both schedulers share; mixed in before vLLM's class."""

    dynamic_sd_lookup: list[int] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        end_with_parent()
        self._passes = PassTimer()
        speculation = self.vllm_config.speculative_config
        self._drafter_is_model = speculation is not None and speculation.method not in COPYING
        # A request whose prompt is in the prefix cache would start with k placeholder drafts, which no
        # drafter proposed. vLLM leaves them out where it has a batch-size table, so it gets a constant one.
        if self.num_spec_tokens and self.dynamic_sd_lookup is None:
            self.dynamic_sd_lookup = [self.num_spec_tokens] * (self.max_num_running_reqs + 1)

    def add_request(self, request: Request) -> None:
        is_new = request.request_id not in self.requests
        super().add_request(request)
        if is_new and request.spec_decode_metrics is not None:
            request.spec_decode_metrics = StepLog.new(self.num_spec_tokens)

    def update_draft_token_ids(self, draft_token_ids: DraftTokenIds) -> None:
        for request_id, drafts in zip(draft_token_ids.req_ids, draft_token_ids.draft_token_ids, strict=True):
            request = self.requests.get(request_id)
            if request is not None:
                del drafts[draft_limit(request, self.num_spec_tokens) :]
        super().update_draft_token_ids(draft_token_ids)

    def _update_after_schedule(self, scheduler_output: SchedulerOutput) -> None:
        if self.num_spec_tokens and not self._drafter_needs_full_k:
            # The drafter need not look further ahead than the most patient request of the batch.
            scheduler_output.num_spec_tokens_to_schedule = min(
                scheduler_output.num_spec_tokens_to_schedule,
                max(
                    (
                        draft_limit(self.requests[request_id], self.num_spec_tokens)
                        for request_id in scheduler_output.num_scheduled_tokens
                    ),
                    default=0,
                ),
            )
        super()._update_after_schedule(scheduler_output)

    @property
    def _drafter_needs_full_k(self) -> bool:
        """Whether the drafter has to be asked for all k tokens; see `replicas.drafting.drafts_all_k`."""
        speculation = self.vllm_config.speculative_config
        return speculation.method in CUTS_ONLY or speculation.parallel_drafting

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:
        self._passes.scheduled()
        return super().schedule(*args, **kwargs)

    def update_from_output(self, scheduler_output: SchedulerOutput, *args: Any, **kwargs: Any) -> Any:
        load = pass_load(scheduler_output, self.requests, drafter_is_model=self._drafter_is_model)
        outputs = super().update_from_output(scheduler_output, *args, **kwargs)
        seconds = self._passes.ended(busy=self.has_unfinished_requests())
        if load is not None and seconds is not None:
            attach(outputs, load, seconds)
        return outputs

    def _update_request_with_output(
        self,
        request: Request,
        new_token_ids: list[int],
        is_stale: bool = False,
    ) -> tuple[list[int], bool]:
        decode = request.num_output_tokens > 0
        kept, stopped = super()._update_request_with_output(request, new_token_ids, is_stale)
        if isinstance(request.spec_decode_metrics, StepLog) and kept:
            request.spec_decode_metrics.close_step(len(kept), decode=decode)
        return kept, stopped


class _AsyncCuts(_VllmScheduler):  # type: ignore[misc]
    """The further cut that scheduling ahead needs; mixed in before `_PerRequestK`.

    There the drafts are placeholders when a step is scheduled and real ones in the worker, which reads as
    many as the placeholders: cutting those cuts the drafts.
    """

    def _update_after_schedule(self, scheduler_output: SchedulerOutput) -> None:
        super()._update_after_schedule(scheduler_output)
        for request_id in scheduler_output.num_scheduled_tokens:
            request = self.requests[request_id]
            k = draft_limit(request, self.num_spec_tokens)
            if len(request.spec_token_ids) > k:
                # A new list: vLLM shares one placeholder list among all requests.
                request.spec_token_ids = request.spec_token_ids[:k]


class PerRequestKScheduler(_PerRequestK, Scheduler):  # type: ignore[misc]
    """For engines that schedule synchronously (CPU, n-gram, suffix, Medusa)."""


class AsyncPerRequestKScheduler(_AsyncCuts, _PerRequestK, AsyncScheduler):  # type: ignore[misc]
    """For engines that schedule ahead (EAGLE, draft models, MTP, DFlash and DSpark on GPU)."""


def scheduler_class(*, async_scheduling: bool) -> str:
    """The dotted name, for vLLM's `scheduler_cls`, of the class that fits the resolved scheduling mode."""
    chosen = AsyncPerRequestKScheduler if async_scheduling else PerRequestKScheduler
    return f"{__name__}.{chosen.__name__}"

"""One engine: continuous batching, passes of the target, one event for each.

Requests wait in one queue, first come first served, until a slot and cache are free. Prompts are read in
chunks beside the decoding requests, up to the pass's budget of tokens; the pass that reads the last chunk
emits the first token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import simpy

from bench.simulate.surfaces import Machine
from bench.simulate.workload import Request
from policies.cost import StepLoad
from policies.evidence import RequestSteps

_NOISE_BLOCK = 4096


@dataclass(slots=True)
class Job:
    """A request on an engine."""

    request: Request
    k: int
    engine: int
    placed_s: float
    unread: int
    """Prompt tokens no pass has read yet."""
    emitted: int = 0
    first_token_s: float = 0.0
    finished_s: float = 0.0
    drafted: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)

    @property
    def cache_tokens(self) -> int:
        """Cache it may come to need."""
        return self.request.prompt_tokens + self.request.max_tokens

    def steps(self) -> RequestSteps:
        """What the engine reports when it is done."""
        return RequestSteps(self.k, self.drafted, self.accepted)


Finished = Callable[[Job], None]
Passed = Callable[[int, StepLoad, float], None]


class Engine:
    """A replica of a pool. `max_k` 0 has no drafter; `table` sets k by batch size instead of by request."""

    def __init__(
        self,
        env: simpy.Environment,
        number: int,
        *,
        machine: Machine,
        max_k: int,
        drafts_by_model: bool,
        finished: Finished,
        passed: Passed | None = None,
        table: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        self.number = number
        self.machine = machine
        self.max_k = max_k
        self.waiting: deque[Job] = deque()
        self.reading: list[Job] = []
        self.decoding: list[Job] = []
        self.busy_s = 0.0
        self.tokens = 0
        """Tokens handed out."""
        self._env = env
        self._by_model = drafts_by_model
        self._finished = finished
        self._passed = passed
        self._table = table
        self._context = 0
        self._cache_left = machine.capacity(drafter=max_k > 0)
        self._rng = np.random.default_rng((seed, 7, number))
        self._noise: list[float] = []
        self._idle: simpy.Event | None = None
        env.process(self._run())

    @property
    def in_flight(self) -> int:
        """Requests it has, waiting ones included."""
        return len(self.waiting) + len(self.reading) + len(self.decoding)

    @property
    def context(self) -> int:
        """Tokens of context of the decoding requests."""
        return self._context

    def submit(self, job: Job) -> None:
        """Queue a request."""
        self.waiting.append(job)
        if self._idle is not None and not self._idle.triggered:
            self._idle.succeed()

    def _run(self) -> Generator[simpy.Event, None, None]:
        while True:
            self._admit()
            if not self.reading and not self.decoding:
                self._idle = self._env.event()
                yield self._idle
                self._idle = None
                continue
            k_of_batch = self._k_of_batch()
            prefill, read = self._chunks(k_of_batch)
            decoding = len(self.decoding)
            drafts, drafted = self._drafts(k_of_batch)
            load = StepLoad(
                requests=decoding,
                verifying=1.0 if drafted else 0.0,
                drafted=drafted,
                asked=self._asked(k_of_batch) if self._by_model else 0,
                context=self._context,
                prefill=prefill,
            )
            took_s = self.machine.surface.seconds(load, drafter=self.max_k > 0) * self._noisy()
            yield self._env.timeout(took_s)
            self.busy_s += took_s
            if self._passed is not None:
                self._passed(self.number, self._recorded(load), took_s)
            self._advance(drafts)
            self._begin(read)

    def _admit(self) -> None:
        slots = self.machine.slots - len(self.reading) - len(self.decoding)
        while self.waiting and slots > 0:
            empty = not (self.reading or self.decoding)
            if self.waiting[0].cache_tokens > self._cache_left and not empty:
                break
            job = self.waiting.popleft()
            self._cache_left -= job.cache_tokens
            self.reading.append(job)
            slots -= 1

    def _chunks(self, k_of_batch: int | None) -> tuple[int, list[Job]]:
        """Prompt tokens of this pass, and the jobs whose prompts it completes."""
        if not self.reading:
            return 0, []
        spent = sum(1 + (job.k if k_of_batch is None else k_of_batch) for job in self.decoding)
        left = budget = max(1, self.machine.pass_tokens - spent)
        read = []
        for job in self.reading:
            chunk = min(left, job.unread)
            job.unread -= chunk
            left -= chunk
            if job.unread:
                break
            read.append(job)
        return budget - left, read

    def _k_of_batch(self) -> int | None:
        if self._table is None or not self.decoding:
            return None
        return self._table[min(len(self.decoding), len(self._table) - 1)]

    def _asked(self, k_of_batch: int | None) -> int:
        if k_of_batch is not None:
            return k_of_batch
        return max((job.k for job in self.decoding), default=0)

    def _recorded(self, load: StepLoad) -> StepLoad:
        """As `replicas.passes` records it, where a model drafter is asked for a token at least."""
        return load._replace(asked=max(1.0, load.asked)) if self._by_model and self.max_k else load

    def _drafts(self, k_of_batch: int | None) -> tuple[list[int], int]:
        """Draft tokens of every decoding request, and their sum."""
        if self.max_k == 0:
            return [], 0
        drafts = []
        for job in self.decoding:
            offered = job.request.drafts.offered[job.emitted]
            k = job.k if k_of_batch is None else k_of_batch
            drafts.append(min(offered, k))
        return drafts, sum(drafts)

    def _advance(self, drafts: list[int]) -> None:
        """Hand out what the pass produced for the decoding requests."""
        done = False
        for at, job in enumerate(self.decoding):
            request, emitted = job.request, job.emitted
            left = request.output_tokens - emitted - 1
            drafted = drafts[at] if drafts else 0
            accepted = request.drafts.good[emitted] if drafted else 0
            accepted = min(accepted, drafted)
            if accepted > left:
                drafted = accepted = left
            job.drafted.append(drafted)
            job.accepted.append(accepted)
            job.emitted = emitted + accepted + 1
            self._context += accepted + 1
            self.tokens += accepted + 1
            done = done or accepted >= left
        if done:
            for job in self.decoding:
                if job.emitted >= job.request.output_tokens:
                    self._context -= job.request.prompt_tokens + job.emitted
                    self._finish(job)
            self.decoding = [job for job in self.decoding if job.emitted < job.request.output_tokens]

    def _begin(self, read: list[Job]) -> None:
        """First tokens, of those whose prompts the pass completed."""
        if not read:
            return
        self.reading = [job for job in self.reading if job.unread]
        for job in read:
            job.emitted = 1
            self.tokens += 1
            job.first_token_s = self._env.now
            if job.request.output_tokens <= 1:
                self._finish(job)
            else:
                self._context += job.request.prompt_tokens + 1
                self.decoding.append(job)

    def _finish(self, job: Job) -> None:
        job.finished_s = self._env.now
        self._cache_left += job.cache_tokens
        self._finished(job)

    def _noisy(self) -> float:
        if not self._noise:
            drawn = self._rng.standard_normal(_NOISE_BLOCK) * self.machine.noise
            self._noise = np.exp(drawn).tolist()
        return self._noise.pop()

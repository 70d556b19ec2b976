"""What is noted of one request while vLLM answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from replicas.frames import Ending, Resume, packed, unpacked

if TYPE_CHECKING:
    from vllm.outputs import RequestOutput


class Flow(Protocol):
    """The bytes that vLLM's app makes of the outputs: `replicas.asgi.AsgiExchange` is one."""

    holding: bool

    def mark(self) -> None:
        """What came so far may go out."""
        ...

    def discard(self) -> bytes:
        """What came so far goes nowhere."""
        ...


class Observation:
    """Collects the tokens, step counts and times of one HTTP request.

    An HTTP request may become several engine requests (several prompts or choices). Then tokens are summed,
    but there are neither token ids nor step counts.

    Of a request with one choice the bytes go out with their tokens: those of an output are all there when
    vLLM's app asks for the next one, and those of the last when it is done.
    """

    def __init__(
        self,
        *,
        k: int,
        speculative: bool,
        prompt_tokens: bool = False,
        flow: Flow | None = None,
        resume: Resume | None = None,
        cache_salt: str = "",
    ) -> None:
        self.k = k
        self.cache_salt = cache_salt
        self.failure: str | None = None
        self.continuable = False
        self.resume = resume
        self.shown: RequestOutput | None = None
        self.discarded = b""
        self._flow = flow
        self._made_elsewhere = unpacked(resume.token_ids) if resume is not None else []
        self._sent_tokens: list[int] = []
        self._speculative = speculative
        self._prompt_wanted = prompt_tokens
        self._sequences = 0
        self._new_tokens: list[int] = []
        self._completion_tokens: dict[int, dict[int, int]] = {}
        self._last: dict[int, RequestOutput] = {}
        self._finish_reason: str | None = None
        self._steps: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def failed(self, reason: str) -> ValueError:
        """Note why the app's answer, which it makes of any error, is not for the client."""
        self.failure = reason
        return ValueError(reason)

    def begin(self, *, choices: int) -> int:
        """Announce an engine request; returns its number for `observe`."""
        number = len(self._completion_tokens)
        self._completion_tokens[number] = {}
        self._sequences += choices
        if self._flow is not None:
            self._flow.holding = self._single
        return number

    @property
    def _single(self) -> bool:
        return self._sequences == 1

    def observe(self, sequence: int, output: RequestOutput) -> None:
        """Note one output. vLLM delivers deltas to streams and one final output otherwise."""
        self._last[sequence] = output
        counts = self._completion_tokens[sequence]
        for completion in output.outputs:
            counts[completion.index] = counts.get(completion.index, 0) + len(completion.token_ids)
            if not self._single:
                continue
            self._new_tokens.extend(completion.token_ids)
            if completion.finish_reason is not None:
                self._finish_reason = completion.finish_reason
            metrics = completion.spec_decode_metrics
            if metrics is not None:
                self._steps = (tuple(metrics.per_step_drafted), tuple(metrics.per_step_accepted))

    def sent(self) -> None:
        """The app has sent all it makes of the outputs observed so far, and more will come."""
        self._sent_tokens += self._new_tokens
        self._new_tokens = []
        if self._single and self._flow is not None:
            self._flow.mark()

    def take_shown(self) -> RequestOutput | None:
        """The output in which the app is shown the tokens made elsewhere, once."""
        shown, self.shown = self.shown, None
        return shown

    def discard(self) -> None:
        """The app has sent all it makes of the tokens made elsewhere, which the client has already."""
        if self._flow is not None:
            self.discarded = self._flow.discard()

    @property
    def made_elsewhere(self) -> list[int]:
        """The tokens the answer begins with, where it began on another replica."""
        return self._made_elsewhere

    def take_tokens(self, *, last: bool) -> tuple[int, ...]:
        """Token ids whose bytes were sent since the last call; always empty for several choices."""
        if last:
            self.sent()
        taken, self._sent_tokens = tuple(self._sent_tokens), []
        return taken if self._single else ()  # beam search begins as a single sequence

    def take_prompt(self) -> bytes:
        """The packed prompt, once, as soon as vLLM has said what it is; empty where it is not wanted."""
        if not self._prompt_wanted or not self._last:
            return b""
        self._prompt_wanted = False
        return packed(self._last[0].prompt_token_ids or ()) if self._single else b""

    def ending(self) -> Ending:
        """The account of the whole request."""
        tokens = sum(sum(counts.values()) for counts in self._completion_tokens.values())
        drafted, accepted, counted = self._account(tokens)
        queued_s = ttft_s = decode_s = None
        last = self._last.get(0) if self._single and self.resume is None else None
        if last is not None and (times := last.metrics) is not None and times.first_token_ts > 0:
            queued_s = max(0.0, times.scheduled_ts - times.queued_ts)
            ttft_s = max(0.0, times.first_token_ts - times.queued_ts)
            decode_s = max(0.0, times.last_token_ts - times.first_token_ts)
        return Ending(
            finish_reason=self._finish_reason if self._single else None,
            prompt_tokens=sum(len(output.prompt_token_ids or ()) for output in self._last.values()),
            cached_tokens=sum(output.num_cached_tokens or 0 for output in self._last.values()),
            completion_tokens=len(self._made_elsewhere) + tokens,
            per_step_drafted=drafted,
            per_step_accepted=accepted,
            counted=counted,
            queued_s=queued_s,
            ttft_s=ttft_s,
            decode_s=decode_s,
            continued_after=len(self._made_elsewhere),
        )

    def _account(self, tokens: int) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
        """Drafted and accepted per step, and whether they are complete.

        A plain engine keeps no step log: each of its decode steps leaves one token.
        """
        if not self._single or tokens == 0 or self._finish_reason is None:
            return (), (), False
        if not self._speculative:
            zeros = (0,) * (tokens - 1)
            return zeros, zeros, True
        if self._steps is None:
            return (), (), False
        drafted, accepted = self._steps
        if 1 + len(accepted) + sum(accepted) != tokens:
            return (), (), False
        return drafted, accepted, True

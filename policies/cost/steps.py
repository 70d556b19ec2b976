"""What a target pass works on, and how long it takes.

    T = base + per_request * b + wide * [more than one token] + verify * [drafts] + per_drafted * sum(d_j)
        + per_asked * max(k_j) + per_context * sum(context_j) + per_prefill * prompt tokens
        + sum over knots n of beyond_n * max(0, tokens - n),      tokens = b + sum(d_j) + prompt tokens

(DESIGN section 4, Cost.) Passes may be a staircase and not a line: one token is a product of matrix and
vector, two or more are one of matrix and matrix, and on some machines the time hardly moves from 2 to 16
tokens. Two indicators are the stairs: `wide` for the second token, whoever brings it (a draft, another
request, a prompt), and `verify` for what verification itself adds (the look-up, rejection sampling). Where a
machine has no stairs the fit leaves them at 0, and the slopes carry everything.

The last sum is the roofline (Williams, Waterman, Patterson, CACM 52, 2009). To the target's matrices a token
is a token, whether a request, a draft or a prompt brings it: while reading the weights takes longer than the
arithmetic, further tokens cost next to nothing, beyond that each costs the same. So the time is convex in
the tokens of a pass, which a few knots follow wherever a machine's corner is. It is what tells the price of
a draft where drafts are always proportional to requests: batches of other sizes, and prompts, have shown it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

KNOTS: Final = (16.0, 64.0, 256.0)
"""Tokens of a pass at which its time may bend. Corners are at about a hundred on GPUs, at a few on CPUs."""
_FIRST, _SECOND, _THIRD = KNOTS


class StepLoad(NamedTuple):
    """What one target pass of an engine works on; expected values serve as well as counts."""

    requests: float = 0.0
    """Requests that decode in the pass."""
    verifying: float = 0.0
    """1 if any draft token is verified, else 0; between them the chance of it."""
    drafted: float = 0.0
    """Draft tokens verified, of all requests."""
    asked: float = 0.0
    """Tokens a drafting model is asked for: the largest k in the batch, at least 1. 0 where none drafts."""
    context: float = 0.0
    """Tokens computed before, of all decoding requests."""
    prefill: float = 0.0
    """Prompt tokens computed in the pass."""
    reading: float = 0.0
    """The chance that the pass computes a prompt as well, where `prefill` does not say so."""
    chunk: float = 0.0
    """The prompt tokens of such a pass. Not their own time is counted, but what they make of the others'."""

    @property
    def wide(self) -> float:
        """1 if the pass computes more than one token, else 0; between them the chance of it."""
        alone = 1.0 - min(1.0, max(0.0, self.requests + self.prefill - 1.0))
        return 1.0 - alone * (1.0 - min(1.0, max(0.0, self.verifying)))

    def beyond(self, knot: float) -> float:
        """Tokens beyond the first `knot` of the pass, in expectation; those of `chunk` not among them."""
        tokens = self.requests + self.drafted + self.prefill
        found = max(0.0, tokens - knot)
        if self.reading <= 0 or self.prefill > 0:
            return found
        beside = max(0.0, tokens + self.chunk - knot) - max(0.0, self.chunk - knot)
        return found + self.reading * (beside - found)

    def features(self) -> tuple[float, ...]:
        """What each coefficient of `StepTime` is multiplied with, in its order."""
        return (
            1.0,
            self.requests,
            self.wide,
            self.verifying,
            self.drafted,
            self.asked,
            self.context,
            self.prefill,
            *map(self.beyond, KNOTS),
        )


class StepTime(NamedTuple):
    """Coefficients of a pool's step time, in seconds and never negative."""

    base: float
    """Any pass."""
    per_request: float = 0.0
    """Per decoding request."""
    wide: float = 0.0
    """Once, for a pass of more than one token."""
    verify: float = 0.0
    """Once, for a pass that verifies drafts, beside `wide`."""
    per_drafted: float = 0.0
    """Per draft token verified."""
    per_asked: float = 0.0
    """Per token a drafting model is asked for."""
    per_context: float = 0.0
    """Per token of context of a decoding request."""
    per_prefill: float = 0.0
    """Per prompt token computed."""
    beyond_16: float = 0.0
    """Per token beyond the first 16 of a pass, whoever brings it, beside what is its own."""
    beyond_64: float = 0.0
    """Per token beyond the first 64, beside that."""
    beyond_256: float = 0.0
    """Per token beyond the first 256, beside these."""

    def seconds(self, load: StepLoad) -> float:
        """Expected duration of a pass over `load`."""
        # The sum of products with `features`, spelled out: a decision asks for it dozens of times.
        (
            base,
            per_request,
            wide_s,
            verify,
            per_drafted,
            per_asked,
            per_context,
            per_prefill,
            first,
            second,
            third,
        ) = self
        requests, verifying, drafted, asked, context, prefill, reading, chunk = load
        # Clamped to 0 … 1 by hand: most calls find nobody alone, and calls of min and max would take as long
        # as all the rest.
        wide = 1.0
        alone = 2.0 - requests - prefill
        if alone > 0.0 and verifying < 1.0:
            wide -= min(1.0, alone) * (1.0 - max(0.0, verifying))
        tokens = requests + drafted + prefill
        bent_s = _bent_s(tokens, first, second, third) if tokens > _FIRST else 0.0
        if reading > 0 and prefill <= 0 and tokens + chunk > _FIRST:
            beside_s = _bent_s(tokens + chunk, first, second, third) - _bent_s(chunk, first, second, third)
            bent_s += reading * (beside_s - bent_s)
        return (
            base
            + per_request * requests
            + wide_s * wide
            + verify * verifying
            + per_drafted * drafted
            + per_asked * asked
            + per_context * context
            + per_prefill * prefill
            + bent_s
        )

    def plain_s(self) -> float:
        """A pass that decodes one request without drafts and context."""
        return self.base + self.per_request

    def times(self, factor: float) -> StepTime:
        """The same machine, `factor` times as slow."""
        return StepTime(*(coefficient * factor for coefficient in self))


def _bent_s(tokens: float, first: float, second: float, third: float) -> float:
    """Seconds of tokens beyond the knots."""
    if tokens <= _FIRST:
        return 0.0
    found = first * (tokens - _FIRST)
    if tokens > _SECOND:
        found += second * (tokens - _SECOND)
        if tokens > _THIRD:
            found += third * (tokens - _THIRD)
    return found


class StepShape(NamedTuple):
    """A pool's step time in units of one plain step of the same model: `StepTime` before a clock was seen."""

    verify: float = 0.7
    """A pass that verifies, beyond a plain one."""
    per_token: float = 0.01
    """Per draft token verified."""
    per_draft_token: float = 0.0
    """Per token a drafting model is asked for."""
    per_request: float = 0.02
    """Per further decoding request."""
    per_prefill_token: float = 0.04
    """Per prompt token."""


def seed(shape: StepShape, plain_step_s: float) -> StepTime:
    """The step time of `shape` on a machine whose plain step takes `plain_step_s`.

    What verification costs is taken to be the second token's (`wide`), whoever brings it.
    """
    return StepTime(
        base=plain_step_s * max(0.0, 1.0 - shape.per_request),
        per_request=plain_step_s * shape.per_request,
        wide=plain_step_s * shape.verify,
        verify=0.0,
        per_drafted=plain_step_s * shape.per_token,
        per_asked=plain_step_s * shape.per_draft_token,
        per_context=0.0,
        per_prefill=plain_step_s * shape.per_prefill_token,
    )

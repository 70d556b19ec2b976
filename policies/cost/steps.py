"""What a target pass works on, and how long it takes.

    T = base + per_request * b + wide * [more than one token] + verify * [drafts] + per_drafted * sum(d_j)
        + per_drafted_reading * sum(d_j) * [prompt tokens] + per_asked * max(k_j)
        + per_context * sum(context_j) + per_prefill * prompt tokens

(DESIGN section 4, Cost.) Passes may be a staircase and not a line: one token is a product of matrix and
vector, two or more are one of matrix and matrix, and on some machines the time hardly moves from 2 to 16
tokens. Two indicators are the stairs: `wide` for the second token, whoever brings it (a draft, another
request, a prompt), and `verify` for what verification itself adds (the look-up, rejection sampling). Where a
machine has no stairs the fit leaves them at 0, and the slopes carry everything.
"""

from __future__ import annotations

from typing import NamedTuple


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

    @property
    def wide(self) -> float:
        """1 if the pass computes more than one token, else 0; between them the chance of it."""
        alone = 1.0 - min(1.0, max(0.0, self.requests + self.prefill - 1.0))
        return 1.0 - alone * (1.0 - min(1.0, max(0.0, self.verifying)))

    @property
    def drafted_reading(self) -> float:
        """Draft tokens verified in passes that compute a prompt as well, in expectation."""
        return self.drafted if self.prefill > 0 else self.drafted * self.reading

    def features(self) -> tuple[float, ...]:
        """What each coefficient of `StepTime` is multiplied with, in its order."""
        return (
            1.0,
            self.requests,
            self.wide,
            self.verifying,
            self.drafted,
            self.drafted_reading,
            self.asked,
            self.context,
            self.prefill,
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
    per_drafted_reading: float = 0.0
    """Per draft token verified in a pass that computes a prompt as well, beside `per_drafted`: arithmetic
    binds such passes, of which plain ones have plenty to spare."""
    per_asked: float = 0.0
    """Per token a drafting model is asked for."""
    per_context: float = 0.0
    """Per token of context of a decoding request."""
    per_prefill: float = 0.0
    """Per prompt token computed."""

    def seconds(self, load: StepLoad) -> float:
        """Expected duration of a pass over `load`."""
        # The sum of products with `features`, spelled out: a decision asks for it dozens of times.
        (
            base,
            per_request,
            wide_s,
            verify,
            per_drafted,
            drafted_reading,
            per_asked,
            per_context,
            per_prefill,
        ) = self
        requests, verifying, drafted, asked, context, prefill, reading = load
        alone = min(1.0, max(0.0, 2.0 - requests - prefill))
        return (
            base
            + per_request * requests
            + wide_s * (1.0 - alone * (1.0 - min(1.0, max(0.0, verifying))))
            + verify * verifying
            + drafted * (per_drafted + drafted_reading * (1.0 if prefill > 0 else reading))
            + per_asked * asked
            + per_context * context
            + per_prefill * prefill
        )

    def plain_s(self) -> float:
        """A pass that decodes one request without drafts and context."""
        return self.base + self.per_request

    def times(self, factor: float) -> StepTime:
        """The same machine, `factor` times as slow."""
        return StepTime(*(coefficient * factor for coefficient in self))


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
        per_drafted_reading=0.0,
        per_asked=plain_step_s * shape.per_draft_token,
        per_context=0.0,
        per_prefill=plain_step_s * shape.per_prefill_token,
    )

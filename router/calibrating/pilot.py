"""How fast a service is by now: one prompt on every pool, before a plan says how long it takes.

What a service tells of its step times may still be its profiles' guess, or of a time when it had the machine
to itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from policies.calibrating import Block, Measured, Side
from policies.calibrating.plan import duration_s
from policies.cost import Calibrated
from router.calibrating.asking import AnswerError, Asker
from router.calibrating.prompts import Prompt
from router.requests import LEAST_WEIGHT

_ASKED: Final = 2
"""Answers of each pool; the last one counts: the first of an engine takes longer."""


async def timed(
    asker: Asker, prompt: Prompt, chosen: Sequence[Side], costs: Mapping[str, Calibrated]
) -> Mapping[str, Calibrated]:
    """The step times, each times what its pool takes for a plain answer over what was expected.

    The service learns next to nothing from these answers. A pool that gives none keeps its step time: what is
    wrong with it is told where it is measured.
    """
    plain = {side.profile: side for side in reversed(chosen) if not side.k}
    found = dict(costs)
    for profile in plain.keys() & costs.keys():
        try:
            answers = [await asker.ask(prompt, plain[profile], weight=LEAST_WEIGHT) for _ in range(_ASKED)]
        except AnswerError:
            continue
        slower = _slower(prompt, answers[-1], plain[profile], costs)
        found[profile] = costs[profile]._replace(step_time=costs[profile].step_time.times(slower))
    return found


def _slower(prompt: Prompt, answer: Measured, side: Side, costs: Mapping[str, Calibrated]) -> float:
    expected_s = duration_s(
        [Block(side._replace(batch=1), (prompt.id,))],
        costs,
        prompt_tokens={prompt.id: answer.prompt_tokens},
        tokens=answer.tokens,
    )
    took_s = answer.ttft_s + answer.decode_s
    return took_s / expected_s if took_s > 0 and expected_s > 0 else 1.0

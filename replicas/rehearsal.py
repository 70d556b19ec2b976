"""What a new engine does before its first client: small answers on the k that will be asked for.

The first round warms it up: whatever is compiled, captured or allocated for plain passes and for those with
few and with many drafts is there before a client needs it. The others are timed. Traffic alone may never tell
what a draft costs: an engine that is always asked for the same k shows the price of all its drafts together,
and so a shorter draft would look as expensive as the profile's guess makes it. See
`StepRecorder.rehearsed` for what becomes of the times.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from replicas.frames import Call, Engine, ReplicaError
from replicas.profiles import Profile

_WARM_TOKENS: Final = 8
_TIMED_TOKENS: Final = 24
_TOGETHER: Final = 4
"""Requests of a round in which several share the passes."""
_MOST_S: Final = 5.0
"""Beyond it no further answer is begun: a large model on a slow machine should be ready, too."""


async def rehearse(engine: Engine, profile: Profile, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Warm the engine up and time its passes, within some seconds.

    Rounds alternate, so that a machine which is busy elsewhere for a moment makes no k look slow.

    Raises:
        ReplicaError: The engine cannot answer at all.
    """
    ks = rehearsed_ks(profile)
    for k in ks:
        await _answer(engine, k, _WARM_TOKENS)
    engine.steps.clear()  # first passes are slow
    until = clock() + _MOST_S
    together = min(_TOGETHER, profile.max_num_seqs)
    for requests, asked in ((1, ks), (together, (ks[0], ks[-1])), (1, ks)):
        for k in dict.fromkeys(asked):
            if clock() >= until:
                break
            answers = (_answer(engine, k, _TIMED_TOKENS, begin=begin) for begin in range(1, requests + 1))
            await asyncio.gather(*answers)
    engine.steps.rehearsed()


def rehearsed_ks(profile: Profile) -> tuple[int, ...]:
    """Plain decoding, and where there is a drafter its shortest drafts and its longest."""
    return tuple(
        sorted({0, *(k for k in (1, 2, profile.k) if k <= profile.k)} if profile.speculative else {0})
    )


async def _answer(engine: Engine, k: int, tokens: int, begin: int = 1) -> None:
    """Have a prompt continued whose continuation copying drafters can guess as well."""
    prompt = " ".join(str(begin + place % 4) for place in range(11))
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    async for frame in engine.serve(Call("warm-up", "/v1/completions", json.dumps(body).encode(), k)):
        if frame.status not in {0, HTTPStatus.OK}:
            raise ReplicaError(f"the engine cannot answer: {frame.data.decode(errors='replace')}")

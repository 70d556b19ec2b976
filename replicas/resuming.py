"""Going on with a stream that broke off elsewhere: what vLLM is told, so that it knows of no break.

The engine core reads the prompt and the tokens the client has as one prompt, and generates what is left. The
front end (detokenizer, stop strings, log probabilities, parsers, usage) is shown those tokens as the first
output of the request, whose prompt is as it was; what it makes of them the client has, and is thrown away.
From there on it goes on as if the request had been here from the start.
"""

from __future__ import annotations

from copy import copy
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine import EngineCoreOutput
from vllm.v1.outputs import LogprobsLists

if TYPE_CHECKING:
    from vllm.v1.engine import EngineCoreRequest

_EVENT = b"data: "
_CHOICES = b'"choices"'


def is_continuable(params: SamplingParams) -> bool:
    """Whether another engine could go on with a stream of these parameters.

    Not where the engine core keeps a state of what it has generated that a prompt does not bring back: a
    grammar, penalties that count generated tokens only, banned words, a budget of thinking; nor where an
    answer holds more than its one choice.
    """
    return (
        params.output_kind == RequestOutputKind.DELTA
        and params.n == 1
        and not params.presence_penalty
        and not params.frequency_penalty
        and not params.bad_words
        and params.structured_outputs is None
        and params.prompt_logprobs is None
        and params.prompt_logprob_token_ids is None
        and params.logprob_token_ids is None
        and params.thinking_token_budget is None
        and params.repetition_detection is None
    )


def remaining(request: EngineCoreRequest, done: list[int]) -> EngineCoreRequest:
    """What the engine core is to do of `request` when its first tokens are `done`.

    A seeded request draws with a seed that follows from its own and the number of tokens: with the same one
    it would draw for the next token what it drew for the first, which is no independent draw.

    Raises:
        ValueError: Nothing is left to generate.
    """
    params = request.sampling_params.clone()
    if params.max_tokens is not None:
        params.max_tokens -= len(done)
        if params.max_tokens < 1:
            raise ValueError("the answer already has all its tokens")
    params.min_tokens = max(0, params.min_tokens - len(done))
    if params.seed is not None:
        digest = sha256(f"{params.seed}:{len(done)}".encode()).digest()
        params.seed = int.from_bytes(digest[:7], "big")
    rest = copy(request)
    rest.sampling_params = params
    rest.prompt_token_ids = [*request.prompt_token_ids, *done]
    return rest


def as_generated(request: EngineCoreRequest, tokens: list[int]) -> EngineCoreOutput:
    """The engine core's output as if it had just generated `tokens` for `request`.

    Where log probabilities are wanted they are made up, as the front end counts them: the client has the true
    ones.
    """
    wanted = request.sampling_params.num_logprobs
    made_up = None
    if wanted is not None:
        columns = 1 + max(0, wanted)
        made_up = LogprobsLists(
            np.repeat(np.asarray(tokens, dtype=np.int64)[:, None], columns, axis=1),
            np.zeros((len(tokens), columns), dtype=np.float32),
            np.ones(len(tokens), dtype=np.int64),
        )
    return EngineCoreOutput(request_id=request.request_id, new_token_ids=tokens, new_logprobs=made_up)


def event_head(data: bytes) -> bytes:
    """What the first of these events begins with, up to its choices; empty where it is no such event."""
    end = data.find(_CHOICES)
    return data[len(_EVENT) : end] if data.startswith(_EVENT) and end > 0 else b""


def retitled(data: bytes, own: bytes, other: bytes) -> bytes:
    """Events that begin with `own`, beginning with `other`.

    Text inside events cannot hold either: its quotes are escaped.
    """
    return data.replace(_EVENT + own, _EVENT + other) if own else data

"""A frame's bytes are the text of its tokens, whenever the bytes were made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from replicas.asgi import AsgiExchange
from replicas.frames import Frame as FrameOf
from replicas.frames import Resume, joined, packed, unpacked
from replicas.observation import Observation

pytestmark = pytest.mark.unit


def output(tokens: list[int], *, finished: bool) -> Any:
    completion = SimpleNamespace(
        index=0,
        token_ids=tokens,
        finish_reason="length" if finished else None,
        spec_decode_metrics=None,
    )
    return SimpleNamespace(
        outputs=[completion],
        prompt_token_ids=[1, 2],
        num_cached_tokens=0,
        metrics=None,
        finished=finished,
    )


def app(outputs: list[tuple[list[int], list[bytes]]], observe: Callable[[], Observation]) -> Any:
    """Makes some pieces of bytes of every output, as vLLM's app does, and one after the last."""

    async def generate() -> AsyncIterator[tuple[list[int], list[bytes]]]:
        observation = observe()
        sequence = observation.begin(choices=1)
        for number, (tokens, pieces) in enumerate(outputs):
            finished = number == len(outputs) - 1
            observation.observe(sequence, output(tokens, finished=finished))
            yield tokens, pieces
            if not finished:
                observation.sent()
            if tokens[0] % 3 == 0:
                await asyncio.sleep(0)

    async def body() -> AsyncIterator[bytes]:
        async for _, pieces in generate():
            for piece in pieces:
                yield piece
                if len(piece) % 2:  # someone in between lets others run
                    await asyncio.sleep(0)
        yield b"END"

    async def handler(_: Request) -> Response:
        return StreamingResponse(body(), media_type="text/event-stream")

    return Starlette(routes=[Route("/path", handler, methods=["POST"])])


@given(
    outputs=st.lists(
        st.tuples(
            st.lists(st.integers(1, 99), min_size=1, max_size=3), st.lists(st.binary(max_size=3), max_size=3)
        ),
        min_size=1,
        max_size=8,
    )
)
async def test_after_every_frame_bytes_and_tokens_agree(outputs: list[tuple[list[int], list[bytes]]]) -> None:
    """Whoever cuts off after a frame has the bytes of whole outputs, and their tokens."""
    exchange: AsgiExchange
    observation: Observation
    exchange = AsgiExchange(app(outputs, lambda: observation), path="/path", body=b"{}", request_id="1")
    observation = Observation(k=0, speculative=False, flow=exchange)
    data, tokens = b"", []
    wholes = [(b"", [])]
    for made, pieces in outputs:
        wholes.append((wholes[-1][0] + b"".join(pieces), [*wholes[-1][1], *made]))
    async with aclosing(exchange.parts()) as parts:
        async for part in parts:
            data += part.data
            tokens += observation.take_tokens(last=part.last)
            if not part.last:
                assert (data, tokens) in wholes[:-1]
    await exchange.close()
    assert (data, tokens) == (wholes[-1][0] + b"END", wholes[-1][1])


def test_what_was_made_elsewhere_counts_in_the_usage_and_not_in_the_steps() -> None:
    """And its times, which would be those of a part, are unknown."""
    observation = Observation(k=0, speculative=False, resume=Resume(packed([1, 2]), packed([5, 6, 7]), b""))
    sequence = observation.begin(choices=1)
    observation.observe(sequence, output([8], finished=False))
    observation.observe(sequence, output([9], finished=True))
    ending = observation.ending()
    assert (ending.completion_tokens, ending.continued_after) == (5, 3)
    assert (ending.counted, len(ending.per_step_accepted)) == (True, 1)
    assert observation.take_tokens(last=True) == (8, 9)
    assert ending.ttft_s is ending.decode_s is None


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_packed_tokens_can_be_unpacked(tokens: list[int]) -> None:
    """All of them, in order."""
    assert unpacked(packed(tokens)) == tokens


def test_frames_can_be_joined() -> None:
    """The place for more members moves with the bytes before it."""
    first = FrameOf(b"abc", (1,), 200, "text/event-stream", prompt_token_ids=packed([4]), head=b"h")
    last = FrameOf(b"de}", (2, 3), splice_at=2)
    whole = joined([first, last])
    assert (whole.data, whole.token_ids, whole.splice_at) == (b"abcde}", (1, 2, 3), 5)
    assert (whole.status, whole.head, whole.prompt_token_ids) == (200, b"h", packed([4]))
    assert joined([last]) is last

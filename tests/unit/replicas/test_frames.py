"""Frames between processes."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicas.frames import Ending, Frame, Load, assembled, parted

pytestmark = pytest.mark.unit

_COUNTS = st.lists(st.integers(0, 9), max_size=4).map(tuple)
_SECONDS = st.none() | st.floats(0, 100)
_ENDINGS = st.builds(
    Ending,
    finish_reason=st.none() | st.sampled_from(["stop", "length"]),
    prompt_tokens=st.integers(0, 99),
    cached_tokens=st.integers(0, 99),
    completion_tokens=st.integers(0, 99),
    per_step_drafted=_COUNTS,
    per_step_accepted=_COUNTS,
    counted=st.booleans(),
    queued_s=_SECONDS,
    ttft_s=_SECONDS,
    decode_s=_SECONDS,
    replica=st.text(max_size=4),
    continued_after=st.integers(0, 9),
)
_FRAMES = st.builds(
    Frame,
    data=st.binary(max_size=9),
    token_ids=_COUNTS,
    status=st.sampled_from([0, 200, 400]),
    content_type=st.sampled_from(["", "text/event-stream"]),
    splice_at=st.none() | st.integers(0, 9),
    ending=st.none() | _ENDINGS,
    load=st.none() | st.builds(Load, running=st.integers(0, 9), capacity=st.integers(0, 9)),
    prompt_token_ids=st.binary(max_size=8),
    head=st.binary(max_size=8),
    replica=st.text(max_size=4),
)


def _classes(value: Any) -> set[type]:
    inner = set().union(*map(_classes, value)) if isinstance(value, tuple) else set()
    return {type(value), *inner}


@given(_FRAMES)
def test_a_frame_arrives_as_it_was_sent(frame: Frame) -> None:
    """Whatever it holds, in plain tuples on the way."""
    parts = parted(frame)
    assert _classes(parts) <= {tuple, bytes, str, int, bool, float, type(None)}
    arrived = assembled(pickle.loads(pickle.dumps(parts)))  # noqa: S301 - our own
    assert arrived == frame
    assert type(arrived) is Frame
    assert (type(arrived.ending), type(arrived.load)) == (type(frame.ending), type(frame.load))

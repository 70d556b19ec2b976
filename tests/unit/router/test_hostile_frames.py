"""Frames as no sound replica sends them: truncated, out of order, twice, with any bytes and any figures."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import CHAT, FakePool, Harness, gone, last, more, opening, request, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicas.frames import Ending, Frame, Load
from router.errors import ApiError

pytestmark = pytest.mark.unit

EXAMPLES = 1000

COUNTS = st.integers(-3, 40) | st.sampled_from([2**31, 2**32, 2**63, -(2**40)])
TIMES = st.none() | st.floats() | st.sampled_from([-1.0, 0.0, 1e308])
STEPS = st.lists(COUNTS, max_size=6).map(tuple)
NAMES = st.sampled_from(["", "r1", "é", "a\r\nb"]) | st.text(max_size=4)
ENDINGS = st.builds(
    Ending,
    finish_reason=st.none() | st.sampled_from(["stop", "length", "abort", ""]),
    prompt_tokens=COUNTS,
    cached_tokens=COUNTS,
    completion_tokens=COUNTS,
    per_step_drafted=STEPS,
    per_step_accepted=STEPS,
    counted=st.booleans(),
    queued_s=TIMES,
    ttft_s=TIMES,
    decode_s=TIMES,
    replica=NAMES,
    continued_after=COUNTS,
)
DATA = st.binary(max_size=30) | st.sampled_from(
    [b"", b"{}", b'{"id":1}', b"data: [DONE]\n\n", b'data: {"a":1}\n\ndata: [DONE]\n\n', b"data: {"]
)
FRAMES = st.builds(
    Frame,
    data=DATA,
    token_ids=st.lists(COUNTS, max_size=4).map(tuple),
    status=st.sampled_from([0, 0, 0, 200, 200, 400, 404, 500, 503]),
    content_type=st.sampled_from(["", "application/json", "text/event-stream; charset=utf-8", "text/html"]),
    splice_at=st.none() | st.integers(-2, 40),
    ending=st.none() | ENDINGS,
    load=st.none() | st.builds(Load, COUNTS, COUNTS, COUNTS),
    prompt_token_ids=st.binary(max_size=9),
    head=st.sampled_from([b"", b'data: {"id":1,']),
    replica=NAMES,
)
SOUND = [whole(), opening(), more(), last()]
SCRIPTS = st.lists(st.sampled_from(SOUND) | FRAMES | st.just(gone()), max_size=5) | st.builds(
    lambda between, end: [opening(), *between, end],
    st.lists(st.just(more()) | FRAMES, max_size=3),
    FRAMES.map(lambda frame: frame._replace(status=0)) | st.just(last()),
)


class Rig:
    """A service whose pools play whatever they are given, and what became of the requests."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.harness = self.runner.run(
            Harness(folder, vanilla=FakePool(), ngram=FakePool(), allow_overrides=True).ready()
        )
        self.seen: Counter[str] = Counter()

    def play(self, scripts: list[list[Any]], *, stream: bool, details: bool) -> None:
        """One request over these frames, the second script for whoever takes over."""
        harness = self.harness
        harness.ngram.scripts, harness.vanilla.scripts = scripts[:1], scripts[1:]
        harness.outcomes.clear()
        harness.clock.now_s += 3600  # whoever failed is tried again
        self.runner.run(harness.pools.poll())
        asked = request({"x-specroute-details": "1"} if details else {}, path=CHAT, stream=stream)
        try:
            self.runner.run(harness.answer(asked))
            self.seen["answered"] += 1
        except ApiError as error:
            self.seen[str(error.http_status)] += 1
        assert len(harness.outcomes) == 1
        assert harness.idle
        for record in dict(harness.buffer.items()).values():
            assert all(math.isfinite(value) and value >= 0 for value in record.counters.values())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig(tmp_path_factory.mktemp("frames"))


def test_whatever_a_replica_sends_a_request_ends_once(
    rig: Rig, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Answered, or refused with an error of ours; nothing stays in flight, and what is learned stays sane."""

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(scripts=st.lists(SCRIPTS, min_size=2, max_size=2), stream=st.booleans(), details=st.booleans())
    def run(scripts: list[list[Any]], *, stream: bool, details: bool) -> None:
        rig.play(scripts, stream=stream, details=details)

    run()
    tried = sum(rig.seen.values())
    print(f"{tried} answers of hostile frames: {dict(sorted(rig.seen.items()))}")
    record_testsuite_property("hostile_frame_inputs", tried)
    assert tried >= EXAMPLES
    assert rig.seen["answered"]

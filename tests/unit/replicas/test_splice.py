"""The place of the `specroute` object, wherever the answer was cut into parts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicas.asgi import Part
from replicas.splice import Splicer, with_usage_chunk

pytestmark = pytest.mark.unit

SSE = "text/event-stream; charset=utf-8"
MEMBER = b',"specroute":{"k":4}'

# Text that tries to look like the frame it stands in.
tricky = st.lists(
    st.sampled_from(["data: [DONE]", "\n\n", "data: ", "}", "{", '"', "\\", "[DONE]", "a", "é", "\u2028"]),
    max_size=6,
).map("".join) | st.text(max_size=8)
members = st.dictionaries(
    st.text(max_size=3), tricky | st.dictionaries(st.text(max_size=2), tricky), min_size=1, max_size=3
)


def parts(data: bytes, cuts: list[int]) -> list[Part]:
    """`data` cut at the given places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    bounds = list(zip([0, *places], [*places, len(data)], strict=True))
    return [Part(data[a:b], n == 0, n == len(bounds) - 1) for n, (a, b) in enumerate(bounds)]


def spliced(data: bytes, cuts: list[int], content_type: str) -> tuple[bytes, bytes, int]:
    """What came out, the same with the member put in, and the number of places."""
    splicer = Splicer()
    plain = inserted = b""
    places = 0
    for part in parts(data, cuts):
        out, at = splicer.feed(part, content_type)
        plain += out
        inserted += out if at is None else out[:at] + MEMBER + out[at:]
        assert at is None or part.last
        places += at is not None
    return plain, inserted, places


def stream(events: list[dict[str, Any]], *, ascii_only: bool = True) -> bytes:
    body = b"".join(b"data: " + json.dumps(e, ensure_ascii=ascii_only).encode() + b"\n\n" for e in events)
    return body + b"data: [DONE]\n\n"


cuts = st.lists(st.integers(0, 10_000), max_size=12)


@given(events=st.lists(members, min_size=1, max_size=5), cuts=cuts, ascii_only=st.booleans())
def test_a_stream_gets_the_member_in_its_last_event(
    events: list[dict[str, Any]], cuts: list[int], ascii_only: bool
) -> None:
    """However the bytes are cut, none is lost or changed, and only the last event has the member."""
    data = stream(events, ascii_only=ascii_only)
    plain, inserted, places = spliced(data, cuts, SSE)
    assert plain == data
    assert places == 1
    seen = [json.loads(line.removeprefix(b"data: ")) for line in inserted.split(b"\n\n")[:-2]]
    assert seen == [*events[:-1], events[-1] | {"specroute": {"k": 4}}]
    assert inserted.endswith(b"\n\ndata: [DONE]\n\n")


@given(
    body=members, cuts=cuts, indent=st.none() | st.integers(0, 2), tail=st.sampled_from([b"", b"\n", b" \n"])
)
def test_a_body_gets_the_member_before_its_closing_brace(
    body: dict[str, Any], cuts: list[int], indent: int | None, tail: bytes
) -> None:
    """A JSON body comes out whole, whatever its layout."""
    data = json.dumps(body, indent=indent).encode() + tail
    plain, inserted, places = spliced(data, cuts, "application/json")
    assert plain == data
    assert places == 1
    assert json.loads(inserted) == body | {"specroute": {"k": 4}}


@given(data=st.binary(max_size=200), cuts=cuts, content_type=st.sampled_from([SSE, "application/json", ""]))
def test_no_byte_is_ever_lost(data: bytes, cuts: list[int], content_type: str) -> None:
    """Not even of something that is neither JSON nor a stream."""
    assert spliced(data, cuts, content_type)[0] == data


@pytest.mark.parametrize("data", [b"", b"{}", b" { } ", b"[1]", b'"a}"', b"}", b"text"])
def test_what_is_no_object_with_members_has_no_place(data: bytes) -> None:
    """There a member would break the JSON."""
    assert spliced(data, [], "application/json") == (data, data, 0)


@pytest.mark.parametrize("data", [b"data: [DONE]\n\n", b'data: {"a":1}\n\n', b": ping\n\ndata: [DONE]\n\n"])
def test_a_stream_without_an_event_before_its_end_has_no_place(data: bytes) -> None:
    """Nothing is held back forever, either."""
    assert spliced(data, [5], SSE) == (data, data, 0)


def test_the_place_waits_for_the_last_part() -> None:
    """The account of the request comes with it, after `[DONE]` as an ASGI app sends it."""
    splicer = Splicer()
    assert splicer.feed(Part(b'data: {"a":1}\n\n', first=True, last=False), SSE) == (b"", None)
    assert splicer.feed(Part(b"data: [DONE]\n\n", first=False, last=False), SSE) == (b"", None)
    assert splicer.feed(Part(b"", first=False, last=True), SSE) == (b'data: {"a":1}\n\ndata: [DONE]\n\n', 12)


def test_only_one_event_is_held_back() -> None:
    """A reader waits for the next event, not for the end."""
    splicer = Splicer()
    assert splicer.feed(Part(b'data: {"a":1}\n\n', first=True, last=False), SSE) == (b"", None)
    assert splicer.feed(Part(b'data: {"a":2}\n\n', first=False, last=False), SSE) == (
        b'data: {"a":1}\n\n',
        None,
    )


@pytest.mark.parametrize(
    "options", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}]
)
def test_a_stream_is_asked_for_its_usage_chunk(options: dict[str, Any]) -> None:
    """And for nothing else."""
    body = {"prompt": "é", "stream": True} | options
    assert json.loads(with_usage_chunk(json.dumps(body).encode())) == body | {
        "stream_options": {"include_usage": True}
    }


def test_other_stream_options_stay() -> None:
    """What the client asked for is kept."""
    asked = b'{"stream": true, "stream_options": {"continuous_usage_stats": true}}'
    assert json.loads(with_usage_chunk(asked))["stream_options"] == {
        "continuous_usage_stats": True,
        "include_usage": True,
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"stream": false}',
        b'{"stream": 1}',
        b'{"prompt": "a"}',
        b'{"stream": true, "stream_options": 3}',
    ],
    ids=range(10),
)
def test_what_is_no_stream_request_is_left_for_vllm_to_judge(body: bytes) -> None:
    """Byte for byte."""
    assert with_usage_chunk(body) is body

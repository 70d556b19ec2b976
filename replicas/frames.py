"""What travels between the router and a replica: one call in, frames out.

Frames cross process boundaries by the thousand, so they are plain tuples with names. Everything a router
needs to know stands beside the client's bytes, so that it never has to read them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from struct import pack, unpack
from typing import Any, NamedTuple, Protocol

from policies.cost import StepRecorder

Headers = tuple[tuple[str, str], ...]
"""Names in lower case, and values."""


class Resume(NamedTuple):
    """Where another replica's stream broke off, for the one that goes on with it."""

    prompt_token_ids: bytes
    """The prompt as the target read it, `packed`."""
    token_ids: bytes
    """The tokens whose text the client has, `packed`: none more, none fewer, never the last of an answer."""
    head: bytes
    """`Frame.head` of that stream."""


class Call(NamedTuple):
    """One request, as the router hands it to a replica."""

    request_id: str
    path: str
    """The endpoint, for instance `/v1/chat/completions`."""
    body: bytes
    """The client's JSON, as it came; empty for a GET."""
    k: int
    """Most draft tokens per step; 0 is plain decoding, on any pool."""
    details: bool = False
    """Whether the client asked for the `specroute` object; it needs a place to stand (`Frame.splice_at`)."""
    prompt_tokens: bool = False
    """Whether the router wants `Frame.prompt_token_ids`."""
    resume: Resume | None = None
    """Set where the stream began elsewhere: the frames go on from there, as if it had never broken off."""
    cache_salt: str = ""
    """Requests find each other's prompts in the prefix cache only under the same salt. A client's own
    `cache_salt` divides further, below this one."""
    trace: Headers = ()
    """Headers with the context of the trace it belongs to, as W3C has them; none where nobody traces."""

    @property
    def trace_id(self) -> str | None:
        """Of that trace, for the log; None where there is none."""
        _, _, rest = dict(self.trace).get("traceparent", "").partition("-")
        return rest.partition("-")[0] or None


class Load(NamedTuple):
    """How busy a replica is."""

    running: int
    """Requests in flight."""
    capacity: int
    """Most requests that are decoded at once."""
    waiting: int = 0
    """Of those in flight, the ones the engine has not begun, as of its last step."""


class Ending(NamedTuple):
    """The account of a finished request, on the last frame."""

    finish_reason: str | None
    prompt_tokens: int
    cached_tokens: int
    """Prompt tokens taken from the prefix cache."""
    completion_tokens: int
    per_step_drafted: tuple[int, ...]
    per_step_accepted: tuple[int, ...]
    counted: bool
    """Whether the step arrays are complete: tokens = 1 + sum(1 + accepted). False for several choices, beam
    search, stop strings (vLLM finds those outside the core) and requests that never decoded."""
    queued_s: float | None
    ttft_s: float | None
    """From arrival at the engine to the first token."""
    decode_s: float | None
    """From the first to the last token."""
    replica: str = ""
    """Who answered, as its status and Ray Serve name it; the engine itself does not know."""
    continued_after: int = 0
    """Tokens of the answer that another replica made (`Call.resume`). They count in `completion_tokens`, but
    not in the step arrays, which are complete when the tokens made here = 1 + sum(1 + accepted); the times,
    which would be those of a part, are None."""


class Frame(NamedTuple):
    """A piece of the answer: the client's bytes, and what they stand for."""

    data: bytes
    token_ids: tuple[int, ...] = ()
    """Target tokens since the frame before, for requests with a single choice: those that made these bytes.
    After every frame a client has the text of exactly the tokens of the frames so far."""
    status: int = 0
    """The HTTP status, on the first frame; 0 on the others."""
    content_type: str = ""
    splice_at: int | None = None
    """On the last frame: offset in `data` of the closing brace before which JSON members may be put."""
    ending: Ending | None = None
    load: Load | None = None
    prompt_token_ids: bytes = b""
    """The prompt as the target reads it, `packed`: on one frame of a request with a single prompt and choice,
    the first unless the answer begins before its first token. Only where `Call.prompt_tokens` asks."""
    head: bytes = b""
    """On the first frame of a stream that another replica could continue: what all its events begin with, up
    to their choices (id, created, model). Empty where nobody could."""
    replica: str = ""
    """On the first frame: who answers, as in `Ending.replica`."""


Parts = tuple[Any, ...]
"""A frame between processes."""


def parted(frame: Frame) -> Parts:
    """A frame for another process, in plain tuples: which classes they are of is most of what pickle does."""
    if frame.ending is None and frame.load is None:
        return tuple(frame)
    return tuple([tuple(part) if isinstance(part, tuple) else part for part in frame])


def assembled(parts: Parts) -> Frame:
    """The frame that was `parted`."""
    frame = Frame._make(parts)
    if frame.ending is None and frame.load is None:
        return frame
    return frame._replace(
        ending=frame.ending and Ending._make(frame.ending), load=frame.load and Load._make(frame.load)
    )


def packed(token_ids: Sequence[int]) -> bytes:
    """Token ids as little-endian 32-bit numbers: the form in which a whole prompt travels and waits.

    `numpy.frombuffer(…, "<u4")` reads them. A prompt of 2000 tokens is packed in 10 µs and adds 1 µs to what
    its frame costs between processes; as a tuple it would add 40.
    """
    return pack(f"<{len(token_ids)}I", *token_ids)


def unpacked(token_ids: bytes) -> list[int]:
    """What was `packed`."""
    return list(unpack(f"<{len(token_ids) // 4}I", token_ids))


def joined(frames: Sequence[Frame]) -> Frame:
    """One frame of several that follow each other (>= 1)."""
    first, last = frames[0], frames[-1]
    if first is last:
        return first
    before = sum(len(frame.data) for frame in frames[:-1])
    return first._replace(
        data=b"".join(frame.data for frame in frames),
        token_ids=tuple(token for frame in frames for token in frame.token_ids),
        splice_at=None if last.splice_at is None else before + last.splice_at,
        ending=last.ending,
        load=last.load,
        prompt_token_ids=b"".join(frame.prompt_token_ids for frame in frames),
    )


class ReplicaError(Exception):
    """The engine cannot serve: it died or was never started. Not a fault of the request.

    `replica` says whose engine that is, where it is known; `process` names the one that is gone, where only
    that is.
    """

    def __init__(self, message: str = "", *, replica: str = "", process: str = "") -> None:
        super().__init__(message)
        self.replica = replica
        self.process = process


class ReplicaBusyError(ReplicaError):
    """The pool's queue is full. Its replicas are well; the caller should come back later."""


class Engine(Protocol):
    """What a deployment hosts: a real vLLM engine, or the fake one."""

    steps: StepRecorder
    """How long its target passes took."""

    def serve(self, call: Call) -> AsyncGenerator[Frame, None]:
        """Answer `call`. The first frame has the status, the last one the ending.

        Closing the generator aborts the request. Raises ReplicaError when the engine is gone, or cannot go on
        with `call.resume`.
        """
        ...

    def load(self) -> Load:
        """How busy the engine is now."""
        ...

    async def check_health(self) -> None:
        """Raise ReplicaError when the engine can no longer answer."""
        ...

    def shutdown(self) -> None:
        """End the engine and its processes."""
        ...

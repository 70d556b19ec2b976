"""Finished answers become replayed evidence: off the path, in a bounded share of a core, none that is uncertain."""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes import NGRAM, T0, VANILLA, Clock, FakePool, Harness, ending, request

from policies.cells import Origin
from policies.replay import Lookup, replay
from replicas.frames import Frame, ReplicaError, packed
from replicas.profiles import ModelSpec, Profile, PromptLookup
from router.errors import ApiError
from router.replaying import CopyingPool, Replayer, ReplayLimits, Transcript, copying_pools

pytestmark = pytest.mark.unit

PROMPT = [1, 2, 3, 4, 5, 1, 2]
ANSWER = [3, 4, 5, 1, 2, 3, 9, 9]
POOLS = (CopyingPool("ngram", Lookup(2, 5), 4, 8192), CopyingPool("wide", Lookup(1, 3), 2, 8192))
ORIGIN = Origin("code", "low", "acme", half_life_s=60.0)


def transcript(prompt: list[int] = PROMPT, answer: list[int] = ANSWER) -> Transcript:
    """A stream's frames, noted."""
    noted = Transcript()
    noted.note(Frame(b"", tuple(answer[:1]), prompt_token_ids=packed(prompt)))
    noted.note(Frame(b"", tuple(answer[1:])))
    return noted


def account(tokens: int = len(ANSWER), **changes: Any) -> Any:
    """The ending of an answer of so many tokens."""
    return ending((), ())._replace(completion_tokens=tokens, prompt_tokens=len(PROMPT), **changes)


class Rig:
    """A replayer whose core time and rests are scripted, and what it hands on."""

    def __init__(self, pools: tuple[CopyingPool, ...] = POOLS, **limits: Any) -> None:
        self.taken: list[tuple[str, Origin, Mapping[str, float], float]] = []
        self.rests: asyncio.Queue[float] = asyncio.Queue()
        self.core_s = 0.0
        self.rested = asyncio.Event()
        self.rested.set()
        self.replayer = Replayer(
            pools,
            self.sink,
            limits=ReplayLimits(**limits),
            clock=Clock(),
            core_timer=self.core_timer,
            sleep=self.rest,
        )

    def sink(self, profile: str, origin: Origin, counters: Mapping[str, float], now_s: float) -> None:
        self.taken.append((profile, origin, counters, now_s))

    def core_timer(self) -> float:
        """Every replay takes 2 ms of a core."""
        self.core_s += 0.001
        return 2 * self.core_s

    async def rest(self, seconds: float) -> None:
        self.rests.put_nowait(seconds)
        await self.rested.wait()

    def submit(self, noted: Transcript | None = None, told: Any = None, *, tenant: str = "acme") -> None:
        self.replayer.submit(noted or transcript(), told or account(), ORIGIN._replace(tenant=tenant))

    async def run(self, answers: int) -> list[float]:
        """Work through so many answers; returns the rest after each."""
        task = asyncio.create_task(self.replayer.run())
        async with asyncio.timeout(120):
            rests = [await self.rests.get() for _ in range(answers)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return rests


async def test_an_answer_is_replayed_for_every_copying_pool() -> None:
    """With each pool's own lookup and k, under the request's task, temperature and tenant."""
    rig = Rig()
    rig.submit()
    await rig.run(1)
    assert rig.taken == [
        (
            pool.profile,
            ORIGIN,
            replay(PROMPT, ANSWER, pool.lookup, pool.max_k, max_model_len=pool.max_model_len).counters(),
            T0,
        )
        for pool in POOLS
    ]
    assert rig.taken[0][2]["tokens:4"] == len(ANSWER) - 1


async def test_rests_keep_to_the_share_of_a_core() -> None:
    """2 ms of work at a share of 1/20 are followed by 38 ms of rest."""
    rig = Rig(core_share=0.05)
    for _ in range(3):
        rig.submit()
    assert await rig.run(3) == pytest.approx([0.038] * 3)


async def test_a_counter_that_cannot_be_taken_does_not_end_the_replaying() -> None:
    """It is one that failed; the next answer is replayed."""
    rig = Rig()
    take, taken = rig.sink, []

    def sink(*given: Any) -> None:
        taken.append(given)
        if len(taken) == 1:
            raise OverflowError
        take(*given)

    rig.replayer._sink = sink
    rig.submit()
    rig.submit()
    await rig.run(2)
    assert (rig.replayer.totals.failed, rig.replayer.totals.replayed) == (1, 1)
    assert len(rig.taken) == len(POOLS)


async def test_when_too_much_comes_the_newest_are_kept() -> None:
    """What does not fit the queue is counted, and nobody waits for it."""
    rig = Rig(waiting=2)
    for number in range(5):
        rig.submit(tenant=f"tenant-{number}")
    assert rig.replayer.totals.dropped == 3
    await rig.run(2)
    taken = [origin.tenant for profile, origin, *_ in rig.taken if profile == "ngram"]
    assert taken == ["tenant-3", "tenant-4"]


async def test_answers_that_come_during_a_rest_are_replayed_after_it() -> None:
    """The worker does not fall asleep for good."""
    rig = Rig()
    rig.rested.clear()
    task = asyncio.create_task(rig.replayer.run())
    rig.submit()
    async with asyncio.timeout(120):
        await rig.rests.get()
        rig.submit(tenant="later")
        rig.rested.set()
        await rig.rests.get()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert rig.taken[-1][1].tenant == "later"


@pytest.mark.parametrize(
    ("noted", "told"),
    [
        (transcript(), account(finish_reason=None)),
        (transcript(), account(finish_reason="abort")),
        (transcript(), account(len(ANSWER) + 1)),
        (transcript(prompt=[]), account()),
        (transcript(answer=[7]), account(1)),
        (Transcript(), account(0)),
    ],
    ids=["several choices", "aborted", "tokens missing", "prompt unknown", "nothing decoded", "empty"],
)
async def test_uncertain_answers_are_left_out(noted: Transcript, told: Any) -> None:
    """Several choices, interrupted answers, and those of which something is missing."""
    rig = Rig()
    rig.submit(noted, told)
    rig.submit()
    await rig.run(1)
    assert len(rig.taken) == len(POOLS)


async def test_answers_beyond_the_limit_are_counted_and_skipped() -> None:
    """Prompt and answer together."""
    rig = Rig(tokens=len(PROMPT) + len(ANSWER) - 1)
    rig.submit()
    assert rig.replayer.totals.too_long == 1
    rig.submit(transcript(answer=ANSWER[:-1]), account(len(ANSWER) - 1))
    await rig.run(1)
    assert (rig.replayer.totals.replayed, len(rig.taken)) == (1, len(POOLS))


async def test_an_odd_answer_does_not_end_the_learning() -> None:
    """It is logged and counted, it costs its time like any other, and the next one is replayed."""
    rig = Rig()
    odd = transcript()
    odd.prompt = odd.prompt[:-1]  # no whole number of tokens
    rig.submit(odd)
    rig.submit()
    rests = await rig.run(2)
    assert (rig.replayer.totals.failed, rig.replayer.totals.replayed) == (1, 1)
    assert rests[0] > 0


def test_no_copying_pool_no_transcript() -> None:
    """Then nothing is asked of the replicas and nothing noted."""
    assert Rig(()).replayer.transcript() is None
    assert Rig().replayer.transcript() == Transcript(b"", array("I"))


def test_pools_that_copy_are_known_by_their_method() -> None:
    """A vanilla pool copies nothing, nor does one whose drafter is a model."""
    narrow = Profile(name="narrow", method="ngram", k=3, prompt_lookup=PromptLookup(min=3, max=4))
    model = Profile(name="draft", method="draft_model", k=4, draft_model="folder")
    assert copying_pools((VANILLA, NGRAM, model, narrow), ModelSpec(max_model_len=4096)) == (
        CopyingPool("ngram", Lookup(2, 5), 8, 4096),
        CopyingPool("narrow", Lookup(3, 4), 3, 4096),
    )


async def served(folder: Path, *frames: Frame | Exception, **spec: Any) -> tuple[Rig, Harness]:
    """A service whose pools answer with `frames`, one streamed request through it."""
    rig = Rig(POOLS[:1])
    vanilla, ngram = FakePool(frames), FakePool(frames)
    harness = await Harness(folder, vanilla=vanilla, ngram=ngram, **spec).ready()
    harness.service._replayer = rig.replayer
    with contextlib.suppress(ApiError):
        await harness.answer(request(stream=True, temperature=0))
    return rig, harness


STREAM = (
    Frame(b"data: 1\n\n", (3,), 200, "text/event-stream", prompt_token_ids=packed(PROMPT)),
    Frame(b"data: 2\n\n", tuple(ANSWER[1:])),
)
LAST = Frame(b"data: [DONE]\n\n", ending=account())


@pytest.mark.parametrize("mode", ["always_vanilla", "always_speculative"])
async def test_answers_of_both_routes_are_replayed(tmp_path: Path, mode: str) -> None:
    """The replica is asked for the prompt, the answer is put together from all frames."""
    rig, harness = await served(tmp_path, *STREAM, LAST, mode=mode)
    calls = harness.vanilla.calls + harness.ngram.calls
    assert [call.prompt_tokens for call in calls] == [True]
    await rig.run(1)
    ((_, origin, counters, _),) = rig.taken
    assert origin == Origin("code", "low", "anonymous", half_life_s=600)
    assert counters["tokens:4"] == len(ANSWER) - 1


@pytest.mark.parametrize(
    "frames",
    [
        (*STREAM, ReplicaError("gone")),
        (STREAM[0], LAST._replace(data=b"data: [DONE]\n\n")),
        (STREAM[0]._replace(status=400), STREAM[1], LAST),
    ],
    ids=["failed", "a frame lost", "refused"],
)
async def test_other_endings_are_not_replayed(tmp_path: Path, frames: tuple[Frame | Exception, ...]) -> None:
    """Nothing is learned from half an answer."""
    rig, _ = await served(tmp_path, *frames)
    assert not rig.replayer._queue


async def test_cancelled_requests_are_not_replayed(tmp_path: Path) -> None:
    """A client that leaves takes the rest of the answer with it."""
    rig = Rig(POOLS[:1])
    harness = await Harness(tmp_path, ngram=FakePool((*STREAM, asyncio.Event()))).ready()
    harness.service._replayer = rig.replayer
    response = await harness.service.respond(request(stream=True))
    await anext(response.body)
    await response.body.aclose()
    assert harness.outcomes[0].result == "cancelled"
    assert not rig.replayer._queue

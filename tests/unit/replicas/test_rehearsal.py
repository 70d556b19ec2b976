"""What a new engine does before its first client."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from policies.cost import StepLoad, fit
from replicas.fake import FakeEngine, FakeSettings
from replicas.frames import Call, Frame, ReplicaError
from replicas.profiles import ModelSpec, Profile
from replicas.rehearsal import rehearse, rehearsed_ks

pytestmark = pytest.mark.unit

MODEL = ModelSpec(name="m")
EAGLE = Profile.model_validate(
    {
        "name": "eagle3",
        "method": "eagle3",
        "k": 4,
        "draft_model": "embedded",
        "step_cost": {"verify": 0.05, "per_token": 0.0, "per_draft_token": 0.12},
    }
)
GUESSED = Profile.model_validate({**EAGLE.model_dump(), "step_cost": {"per_draft_token": 0.1}})


class Watched(FakeEngine):
    """A fake engine that notes what it was asked."""

    def __init__(self, profile: Profile, settings: FakeSettings) -> None:
        super().__init__(profile, MODEL, settings)
        self.calls: list[tuple[int, dict[str, Any]]] = []

    async def serve(self, call: Call) -> AsyncGenerator[Frame, None]:
        self.calls.append((call.k, json.loads(call.body)))
        async for frame in super().serve(call):
            yield frame


async def test_passes_on_every_k_are_known_before_the_first_client() -> None:
    """The profile guesses that verifying takes most of the time; the engine knows that drafting does."""
    engine = FakeEngine(EAGLE, MODEL, FakeSettings(prefill_ms=6, step_ms=5, alpha=0.5, on_time=True))
    await rehearse(engine, EAGLE)
    measured = fit(engine.steps.moments, GUESSED.step_cost.seed()).step_time

    def on(k: int) -> float:
        return measured.seconds(StepLoad(1, float(k > 0), k, k, 40))

    assert on(1) / on(0) == pytest.approx(1.17, rel=0.05)
    assert on(2) / on(0) == pytest.approx(1.29, rel=0.05)
    assert on(4) / on(0) == pytest.approx(1.53, rel=0.05)
    guessed = GUESSED.step_cost.seed()
    assert guessed.seconds(StepLoad(1, 1, 1, 1)) / guessed.seconds(StepLoad(1)) > 1.7


@pytest.mark.parametrize(
    ("profile", "ks"),
    [
        (Profile(name="vanilla"), (0,)),
        (Profile(name="short", method="ngram", k=1), (0, 1)),
        (Profile(name="ngram", method="ngram", k=8), (0, 1, 2, 8)),
    ],
)
async def test_every_k_is_warm_before_any_is_timed(profile: Profile, ks: tuple[int, ...]) -> None:
    """One short answer each first; later ones are longer, and some run together."""
    engine = Watched(profile, FakeSettings(prefill_ms=0, step_ms=0))
    await rehearse(engine, profile)
    assert rehearsed_ks(profile) == ks
    warm, timed = engine.calls[: len(ks)], engine.calls[len(ks) :]
    assert tuple(k for k, _ in warm) == ks
    assert {body["max_tokens"] for _, body in warm} == {8}
    assert {k for k, _ in timed} == set(ks)
    assert {body["max_tokens"] for _, body in timed} == {24}
    assert len({body["prompt"] for _, body in timed}) == 4


async def test_a_slow_engine_is_ready_after_it_is_warm() -> None:
    """Where time is up at once nothing is timed, and nothing of the warm-up counts."""
    engine = Watched(EAGLE, FakeSettings(prefill_ms=0, step_ms=0))
    clock = iter([0.0, *[6.0] * 20])
    await rehearse(engine, EAGLE, clock=lambda: next(clock))
    assert {body["max_tokens"] for _, body in engine.calls} == {8}
    assert engine.steps.moments.steps == 0


async def test_one_request_at_a_time_stays_so() -> None:
    """An engine with room for one is not asked for four at once."""
    alone = Profile(name="alone", max_num_seqs=1)
    engine = Watched(alone, FakeSettings(prefill_ms=0, step_ms=0))
    await rehearse(engine, alone)
    assert len(engine.calls) == 4


async def test_an_engine_that_cannot_answer_is_not_ready() -> None:
    """The engine's own words say why."""

    class Refusing(Watched):
        async def serve(self, call: Call) -> AsyncGenerator[Frame, None]:
            async for frame in super().serve(call._replace(body=b'{"model": "another", "prompt": "1"}')):
                yield frame

    with pytest.raises(ReplicaError, match=r"cannot answer.*another"):
        await rehearse(Refusing(EAGLE, FakeSettings()), EAGLE)

"""What an engine times by itself: before its first client, and while it is idle."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from policies.cost import StepLoad, fit
from replicas.fake import FakeEngine, FakeSettings
from replicas.frames import Call, Frame, Load, ReplicaError
from replicas.profiles import ModelSpec, Profile
from replicas.quiet import Quiet
from replicas.rehearsal import Rehearsal, rehearsed_ks, warm_up

pytestmark = pytest.mark.unit

MODEL = ModelSpec(name="m")
INSTANT = FakeSettings(prefill_ms=0, step_ms=0)
STEPPING = FakeSettings(prefill_ms=6, step_ms=5, alpha=0.5, on_time=True)
EAGLE = Profile.model_validate(
    {
        "name": "eagle3",
        "method": "eagle3",
        "k": 4,
        "draft_model": "embedded",
        "step_cost": {"verify": 0.05, "per_token": 0.0, "per_draft_token": 0.12},
    }
)
GUESS = Profile.model_validate({**EAGLE.model_dump(), "step_cost": {"per_draft_token": 0.1}}).step_cost.seed()


@pytest.fixture
def quiet(tmp_path: Path) -> Quiet:
    """A machine on which nobody does anything."""
    found = Quiet(tmp_path)
    os.utime(tmp_path / "asked", (0, 0))
    return found


async def at_once(_: float) -> None:
    """A pause of no time."""
    await asyncio.sleep(0)


def on(k: int, step_time: Any) -> float:
    return float(step_time.seconds(StepLoad(1, float(k > 0), k, k, 40)))


class Watched(FakeEngine):
    """A fake engine that notes what it was asked, and may be slower at first or busy."""

    def __init__(self, profile: Profile, settings: FakeSettings, slow: int = 0) -> None:
        super().__init__(profile, MODEL, settings)
        self.calls: list[tuple[int, dict[str, Any]]] = []
        self.slow = slow
        self.busy = 0

    async def serve(self, call: Call) -> AsyncGenerator[Frame, None]:
        self.calls.append((call.k, json.loads(call.body)))
        if (
            call.k and len(self.calls) <= self.slow
        ):  # something else takes the processor from those that draft
            self._settings = self._settings.model_copy(update={"step_ms": 15})
        async with aclosing(super().serve(call)) as frames:
            async for frame in frames:
                yield frame
        self._settings = self._settings.model_copy(update={"step_ms": 5})

    def load(self) -> Load:
        return super().load()._replace(running=self._running + self.busy)


async def test_passes_on_every_k_are_known_without_traffic(quiet: Quiet) -> None:
    """The profile guesses that verifying takes most of the time; the engine finds that drafting does."""
    engine = FakeEngine(EAGLE, MODEL, STEPPING)
    rehearsal = Rehearsal(engine, EAGLE, quiet, pause=at_once)
    await rehearsal.run()
    measured = fit(rehearsal.moments, GUESS).step_time
    for k, expected in ((1, 1.17), (2, 1.29), (4, 1.53)):
        assert on(k, measured) / on(0, measured) == pytest.approx(expected, rel=0.05)
    assert on(1, GUESS) / on(0, GUESS) > 1.7
    assert engine.steps.moments.steps == 0


async def test_rounds_beside_which_others_worked_do_not_count(quiet: Quiet) -> None:
    """Two of them took three times as long on all but plain passes; three that agree are waited for."""
    engine = Watched(EAGLE, STEPPING, slow=10)
    rehearsal = Rehearsal(engine, EAGLE, quiet, pause=at_once)
    await rehearsal.run()
    assert len(engine.calls) == 5 * 5
    measured = fit(rehearsal.moments, GUESS).step_time
    assert on(4, measured) / on(0, measured) == pytest.approx(1.53, rel=0.05)


async def test_a_client_ends_a_round(quiet: Quiet) -> None:
    """Its passes teach what they always do, and the rehearsal begins anew when the engine is idle again."""
    engine = Watched(EAGLE, STEPPING)
    pauses = 0

    async def pause(_: float) -> None:
        nonlocal pauses
        pauses += 1
        await asyncio.sleep(0)
        engine.busy = 0 if pauses != 2 else 1
        if pauses == 3:
            asyncio.get_running_loop().call_later(0.03, setattr, engine, "busy", 1)

    rehearsal = Rehearsal(engine, EAGLE, quiet, pause=pause)
    await rehearsal.run()
    assert pauses == 5
    assert len(engine.calls) == 3 * 5 + 1
    assert engine.load().running == 0
    assert rehearsal.moments.steps > 0


async def test_a_client_of_another_engine_ends_a_round_as_well(quiet: Quiet, tmp_path: Path) -> None:
    """Engines of a machine may share what a rehearsal would take from them; it waits until all are idle."""
    engine, other = Watched(EAGLE, STEPPING), Quiet(tmp_path)
    os.utime(tmp_path / "asked", (0, 0))
    pauses = 0

    async def pause(_: float) -> None:
        nonlocal pauses
        pauses += 1
        await asyncio.sleep(0)
        if pauses == 2:
            asyncio.get_running_loop().call_later(0.03, other.disturb)
        elif pauses == 4:
            os.utime(tmp_path / "asked", (0, 0))

    rehearsal = Rehearsal(engine, EAGLE, quiet, pause=pause)
    await rehearsal.run()
    assert pauses == 5
    assert len(engine.calls) == 3 * 5 + 1
    assert rehearsal.over
    assert rehearsal.moments.steps > 0


async def test_a_machine_that_never_calms_down_is_given_up_on(quiet: Quiet) -> None:
    """Then the quickest rounds have to do."""
    engine = FakeEngine(EAGLE, MODEL, INSTANT)
    rounds = iter(range(1, 1000))

    async def slower(_: float) -> None:
        engine._settings = engine._settings.model_copy(update={"step_ms": 0.1 * 1.3 ** next(rounds)})

    rehearsal = Rehearsal(engine, EAGLE, quiet, pause=slower)
    await asyncio.wait_for(rehearsal.run(), 60)
    assert rehearsal.moments.steps > 0


async def test_an_engine_that_fails_ends_its_rehearsal(
    quiet: Quiet, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is learned, and nobody is told more than that: whoever asks next finds out."""
    engine = FakeEngine(EAGLE, MODEL, STEPPING)
    engine.shutdown()
    rehearsal = Rehearsal(engine, EAGLE, quiet, pause=at_once)
    with caplog.at_level("INFO"):
        await rehearsal.run()
    assert rehearsal.moments.steps == 0
    assert "shut down" in caplog.text


async def test_an_engine_without_a_drafter_times_contexts(quiet: Quiet) -> None:
    """Passes of a short and of a longer one; what the longer adds is nothing here."""
    plain = Profile(name="vanilla")
    engine = Watched(plain, STEPPING)
    rehearsal = Rehearsal(engine, plain, quiet, pause=at_once)
    await rehearsal.run()
    assert {k for k, _ in engine.calls} == {0}
    assert len({body["prompt"] for _, body in engine.calls}) == 2
    measured = fit(rehearsal.moments, plain.step_cost.seed()).step_time
    assert measured.seconds(StepLoad(1, context=2000)) / measured.plain_s() < 1.05


async def test_a_context_that_is_too_short_for_the_long_prompt_is_rehearsed_without(quiet: Quiet) -> None:
    """The engine refuses it; all else is timed."""

    class Narrow(Watched):
        async def serve(self, call: Call) -> AsyncGenerator[Frame, None]:
            if len(json.loads(call.body)["prompt"]) > 100:
                call = call._replace(body=b'{"prompt": "1", "max_tokens": 0}')
            async with aclosing(super().serve(call)) as frames:
                async for frame in frames:
                    yield frame

    rehearsal = Rehearsal(Narrow(EAGLE, STEPPING), EAGLE, quiet, pause=at_once)
    await rehearsal.run()
    assert rehearsal.moments.steps > 60


@pytest.mark.parametrize(
    ("profile", "ks"),
    [
        (Profile(name="vanilla"), (0,)),
        (Profile(name="short", method="ngram", k=1), (0, 1)),
        (Profile(name="ngram", method="ngram", k=8), (0, 1, 2, 8)),
    ],
)
async def test_every_k_is_warm_before_the_first_client(profile: Profile, ks: tuple[int, ...]) -> None:
    """One short answer each, which teach nothing."""
    engine = Watched(profile, INSTANT)
    await warm_up(engine, profile)
    assert rehearsed_ks(profile) == ks
    assert tuple(k for k, _ in engine.calls) == ks
    assert engine.steps.moments.steps == 0


async def test_an_engine_that_cannot_answer_is_not_ready() -> None:
    """The engine's own words say why."""

    class Refusing(Watched):
        async def serve(self, call: Call) -> AsyncGenerator[Frame, None]:
            async for frame in super().serve(call._replace(body=b'{"model": "another", "prompt": "1"}')):
                yield frame

    with pytest.raises(ReplicaError, match=r"cannot answer.*another"):
        await warm_up(Refusing(EAGLE, INSTANT), EAGLE)

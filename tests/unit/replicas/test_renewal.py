"""How an engine makes room for its successor."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from replicas.fake import FakeEngine, FakeSettings
from replicas.frames import Load, ReplicaError
from replicas.profiles import ModelSpec, Profile
from replicas.renewal import Renewal, resolved

pytestmark = pytest.mark.unit


class BusyEngine(FakeEngine):
    """An engine with so many looks until it is idle."""

    def __init__(self, looks: int) -> None:
        super().__init__(Profile(name="vanilla"), ModelSpec(), FakeSettings())
        self.looks = looks

    def load(self) -> Load:
        """Busy for some more looks."""
        self.looks -= 1
        return Load(1 if self.looks >= 0 else 0, 4)


def profile_of(folder: Path) -> Profile:
    """A profile that names a drafter."""
    return Profile(name="eagle3", method="eagle3", k=3, draft_model=str(folder))


async def ended(renewal: Renewal, turns: int = 1000) -> None:
    """Returns when Serve would replace the replica."""
    for _ in range(turns):
        try:
            renewal.check_health()
        except ReplicaError:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not go")


def test_a_link_is_followed_once(tmp_path: Path) -> None:
    """What an engine has loaded is the folder, whatever the link says later; a name that is no folder stays."""
    (tmp_path / "one").mkdir()
    (tmp_path / "drafter").symlink_to("one")
    assert resolved(profile_of(tmp_path / "drafter")).draft_model == str(tmp_path / "one")
    assert resolved(profile_of(Path("someones/drafter"))).draft_model == "someones/drafter"
    assert resolved(Profile(name="vanilla")).draft_model is None


async def test_requests_under_way_end_before_the_engine_does() -> None:
    """New ones are refused at once, so that they go elsewhere; it is well until it has gone."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(0)

    renewal = Renewal("r1", Profile(name="vanilla"), sleep=sleep)
    renewal.check()
    engine = BusyEngine(looks=3)
    renewal.begin(engine, 10.0)
    renewal.begin(engine, 10.0)
    with pytest.raises(ReplicaError, match="makes room for an engine with the new drafter") as refused:
        renewal.check()
    assert refused.value.replica == "r1"
    renewal.check_health()
    assert renewal.account() == {"replica": "r1", "drafter": None, "leaving": True}
    await ended(renewal)
    assert len(waited) == 3
    with pytest.raises(ReplicaError):
        await engine.check_health()


async def test_it_does_not_wait_for_ever() -> None:
    """What is not done in time goes on elsewhere."""

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    renewal = Renewal("r1", Profile(name="vanilla"), sleep=sleep)
    renewal.begin(BusyEngine(looks=10**6), 0.5)
    await ended(renewal)

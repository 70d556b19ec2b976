"""A pool drafts with another drafter: its evidence is cut once, whoever sees it, also while the store is away."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes import T0, Clock, FakePool, policy_text

from policies.cells import CellDelta, CellKey
from policies.learner import Drafter
from replicas.frames import ReplicaError
from replicas.profiles import Profile
from router.drafter_changes import DrafterChanges, agreed
from router.drafter_store import FakeDrafterStore
from router.drifting import Drifting
from router.fake_store import FakeStore
from router.learning import Learning
from router.policy_source import PolicySource
from router.pools import Pools
from router.stats import StatsBuffer
from router.stats_sync import StatsSync

pytestmark = pytest.mark.unit

EAGLE = Profile(name="eagle3", method="eagle3", k=3, draft_model="/drafters/eagle3", replicas=2)
NGRAM = Profile(name="ngram", method="ngram", k=8)
OLD, NEW = "/drafters/eagle3.versions/0001-first", "/elsewhere/eagle3.versions/0002-ab12cd34"

CODE = CellKey("eagle3", "code", "low")
CELLS = (
    CODE,
    CODE._replace(tenant="acme"),
    CODE._replace(task="qa", temperature="high"),
    CODE._replace(task="chat", tenant="beta"),
)
OTHERS = (CODE._replace(profile="ngram"), CODE._replace(profile="ngram").of_replays())
LUMP = CellDelta(600.0, {"requests": 100.0, "steps": 3000.0}, {"requests": 100, "steps": 3000})


class Engines(FakePool):
    """Two engines, and the drafter that each has loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = [OLD, OLD]
        self.leaving = False

    async def drafters(self, limit_s: float) -> list[dict[str, Any]]:
        """Raises ReplicaError where there are none."""
        if not self.loaded:
            raise ReplicaError("no replica answers")
        return [engine(drafter, leaving=self.leaving) for drafter in self.loaded]

    async def renew(self, replica: str, drain_s: float, limit_s: float) -> bool:
        """Not asked here."""
        raise NotImplementedError


def engine(drafter: str | None, *, leaving: bool = False) -> dict[str, Any]:
    """An engine's account of itself."""
    return {"replica": "a", "drafter": drafter, "leaving": leaving}


class Router:
    """What one router has of pools, statistics and drift."""

    def __init__(self, folder: Path, engines: Engines, stats: FakeStore, drafters: FakeDrafterStore) -> None:
        file = folder / "policy.yaml"
        file.write_text(policy_text())
        self.clock = Clock()
        self.buffer = StatsBuffer()
        self.sync = StatsSync(self.buffer, stats, clock=self.clock)
        drifting = Drifting(
            buffer=self.buffer,
            policies=PolicySource(file),
            learning=Learning(self.buffer, {"eagle3": Drafter("eagle3", 3)}),
        )
        self.changes = DrafterChanges(
            Pools([(EAGLE, engines), (NGRAM, FakePool())]), drifting, clock=self.clock
        )
        self.drafters = drafters

    async def look(self) -> None:
        """One round, five seconds after the last."""
        self.clock.now_s += 5.0
        await self.changes.look(self.drafters)

    async def learned(self) -> "Router":
        """Hundred requests in every cell, which the store knows of; it has seen the drafter."""
        self.buffer.record(dict.fromkeys((*CELLS, *OTHERS), LUMP), T0)
        assert await self.sync.flush()
        await self.look()
        return self

    def requests(self, *keys: CellKey) -> list[float]:
        """The evidence of cells, as if no time had passed."""
        return [self.buffer[key].counters["requests"] for key in keys]

    def lifetimes(self) -> list[Mapping[str, int]]:
        """What never decays."""
        return [self.buffer[key].lifetime for key in (*CELLS, *OTHERS)]


@pytest.fixture
def engines() -> Engines:
    """Both with the old drafter."""
    return Engines()


@pytest.fixture
def stats() -> FakeStore:
    """The store of evidence."""
    return FakeStore()


@pytest.fixture
def drafters() -> FakeDrafterStore:
    """The store of names."""
    return FakeDrafterStore()


@pytest.fixture
async def router(tmp_path: Path, engines: Engines, stats: FakeStore, drafters: FakeDrafterStore) -> Router:
    """With evidence of the old drafter."""
    return await Router(tmp_path, engines, stats, drafters).learned()


async def epochs(stats: FakeStore) -> dict[CellKey, int]:
    """How often the store's cells were cut."""
    return {key: record.epoch for key, record in (await stats.changed_since(None)).records.items()}


async def test_another_drafter_cuts_the_evidence_of_its_profile(
    router: Router, engines: Engines, stats: FakeStore
) -> None:
    """Of all its tasks, tenants and temperatures, once; other profiles' and lifetime totals stay."""
    before = router.lifetimes()
    assert router.changes.evidence_of("eagle3") == "0001-first"
    engines.loaded = [NEW, NEW]
    for _ in range(3):
        await router.look()
    assert router.requests(*CELLS) == pytest.approx([2.0] * len(CELLS), rel=0.05)
    assert router.changes.evidence_of("eagle3") == "0002-ab12cd34"
    assert router.requests(*OTHERS) == pytest.approx([100.0] * len(OTHERS))
    assert router.lifetimes() == before
    assert await router.sync.flush()
    assert await epochs(stats) == dict.fromkeys(CELLS, 1) | dict.fromkeys(OTHERS, 0)
    assert router.lifetimes() == before


async def test_what_is_learned_of_the_new_one_outvotes_the_old(router: Router, engines: Engines) -> None:
    """It counts in full from then on."""
    engines.loaded = [NEW, NEW]
    await router.look()
    assert await router.sync.flush()
    router.buffer.record({CODE: LUMP}, router.clock.now_s)
    await router.look()
    assert await router.sync.flush()
    assert router.requests(CODE) == pytest.approx([102.0], rel=0.01)


async def test_nothing_is_cut_before_all_engines_have_it(router: Router, engines: Engines) -> None:
    """What is learned while the pool changes is of both drafters, and goes with the rest."""
    for loaded, leaving in (([NEW, OLD], False), ([NEW], True), ([], False)):
        engines.loaded, engines.leaving = loaded, leaving
        await router.look()
        assert router.requests(*CELLS) == pytest.approx([100.0] * len(CELLS))
    engines.loaded, engines.leaving = [NEW], False
    await router.look()
    assert router.requests(*CELLS) == pytest.approx([2.0] * len(CELLS), rel=0.05)


async def test_a_rollback_is_a_change_too(router: Router, engines: Engines, stats: FakeStore) -> None:
    """There is nothing to go back to: evidence of the old drafter is as old as it is."""
    for loaded in (NEW, OLD):
        engines.loaded = [loaded, loaded]
        await router.look()
        assert await router.sync.flush()
    assert (await epochs(stats))[CODE] == 2


@pytest.mark.parametrize("early", [False, True])
async def test_of_two_routers_one_cuts_and_both_believe_it(
    router: Router, tmp_path: Path, engines: Engines, stats: FakeStore, *, early: bool
) -> None:
    """Whether the second one sees the cut or the new drafter first; its unsent evidence is cut as well."""
    other = Router(tmp_path, engines, stats, router.drafters)
    assert await other.sync.refresh()
    await other.look()
    other.buffer.record({CODE: LUMP}, T0)
    engines.loaded = [NEW, NEW]
    await router.look()
    if early:
        await other.look()
    assert await router.sync.flush()
    assert await other.sync.refresh()
    if not early:
        await other.look()
    assert other.requests(CODE)[0] == pytest.approx(4.0, rel=0.05)
    assert await other.sync.flush()
    assert await epochs(stats) == dict.fromkeys(CELLS, 1) | dict.fromkeys(OTHERS, 0)


async def test_the_cut_does_not_wait_for_the_store(
    router: Router, tmp_path: Path, engines: Engines, stats: FakeStore
) -> None:
    """With the store away every router believes it at once; in the store it is made once."""
    other = Router(tmp_path, engines, stats, router.drafters)
    assert await other.sync.refresh()
    await other.look()
    stats.down = router.drafters.down = True
    engines.loaded = [NEW, NEW]
    for each in (router, other):
        await each.look()
        assert each.requests(*CELLS) == pytest.approx([2.0] * len(CELLS), rel=0.05)
    stats.down = router.drafters.down = False
    for each in (router, other, router):
        await each.look()
        assert await each.sync.flush()
    assert await epochs(stats) == dict.fromkeys(CELLS, 1) | dict.fromkeys(OTHERS, 0)
    assert router.drafters.drafters == {"eagle3": "0002-ab12cd34"}


async def test_a_service_started_anew_knows_what_its_evidence_is_of(
    router: Router, tmp_path: Path, engines: Engines, stats: FakeStore
) -> None:
    """The store does. With another drafter it is cut, by one of its routers; with the same it is not."""
    engines.loaded = [OLD, OLD]
    same = Router(tmp_path, engines, stats, router.drafters)
    assert await same.sync.refresh()
    await same.look()
    assert same.requests(*CELLS) == pytest.approx([100.0] * len(CELLS))
    engines.loaded = [NEW, NEW]
    for _ in range(2):
        anew = Router(tmp_path, engines, stats, router.drafters)
        anew.drafters.down = True
        assert await anew.sync.refresh()
        await anew.look()  # nobody says what the evidence is of
        anew.drafters.down = False
        await anew.look()
        assert await anew.sync.flush()
        assert anew.requests(*CELLS) == pytest.approx([2.0] * len(CELLS), rel=0.05)
    assert await epochs(stats) == dict.fromkeys(CELLS, 1) | dict.fromkeys(OTHERS, 0)


async def test_what_was_learned_before_anybody_noted_drafters_stays(
    tmp_path: Path, engines: Engines, stats: FakeStore
) -> None:
    """After an upgrade, or where the store lost its keys: of which drafter it is nobody knows."""
    engines.loaded = [NEW, NEW]
    router = await Router(tmp_path, engines, stats, FakeDrafterStore()).learned()
    assert router.requests(*CELLS) == pytest.approx([100.0] * len(CELLS))
    router.drafters.drafters.clear()
    router.clock.now_s += 25 * 3600.0
    await router.look()
    assert router.requests(*CELLS) == pytest.approx([100.0] * len(CELLS))
    assert router.drafters.drafters == {"eagle3": "0002-ab12cd34"}


def test_a_drafter_is_known_by_its_folders_name() -> None:
    """Wherever it is mounted; a pool without one has none."""
    assert agreed([engine("/a/x"), engine("/b/x")]) == "x"
    assert agreed([engine("publisher/x")]) == "x"
    assert agreed([engine("/a/x"), engine("/a/y")]) is None
    assert agreed([engine("/a/x"), engine("/a/x", leaving=True)]) is None
    assert agreed([engine(None)]) is None
    assert agreed([]) is None

"""Whatever operators, files, routers and the store do: routers end with one policy, and then nothing moves."""

import tempfile
from pathlib import Path

import pytest
from fakes import Clock
from hypothesis import example, given, settings
from hypothesis import strategies as st
from policy_routers import PolicyRouter

from router.fake_policy_store import FakePolicyStore
from router.stats_protocol import StoreUnavailableError

pytestmark = pytest.mark.unit

ROUTERS = 3
ROUTER = st.integers(0, ROUTERS - 1)
NAMES = st.sampled_from(["f1", "f2", "f3"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("file"), ROUTER, NAMES),
        st.tuples(st.just("put"), ROUTER, st.sampled_from(["p1", "p2"])),
        st.tuples(st.just("roll back"), ROUTER),
        st.tuples(st.just("restart"), ROUTER),
        st.tuples(st.just("kill"), ROUTER),
        st.tuples(st.just("round"), ROUTER),
        st.tuples(st.sampled_from(["down", "up", "wipe", "older", "lose reply", "wait"])),
    ),
    max_size=25,
)


class Fleet:
    """Routers that share a store, and what happens to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.timer = Clock(1000.0)
        self.store = FakePolicyStore(self.timer)
        self.routers: list[PolicyRouter] = []

    async def start(self) -> None:
        """All routers, with the same file."""
        for number in range(ROUTERS):
            self.routers.append(await self._router(number, None))

    async def happen(self, event: tuple[object, ...]) -> None:
        """One event; what the store or the history does not allow is no harm."""
        match event:
            case ("file", int(number), str(name)):
                await self.routers[number].edit(name)
            case ("put", int(number), str(name)):
                await self.routers[number].put(name)
            case ("roll back", int(number)):
                await self.routers[number].roll_back()
            case ("restart" | "kill" as how, int(number)):
                if how == "restart":
                    await self.routers[number].sync.close()
                self.routers[number] = await self._router(number, self.routers[number].file.read_text())
            case ("round", int(number)):
                await self.routers[number].round()
            case (str(what),):
                self._to_the_store(what)

    async def rounds(self, count: int) -> set[tuple[str, int | None]]:
        """Every router in turn, some times: the labels and versions in force."""
        for _ in range(count):
            for router in self.routers:
                await router.round()
        return {(router.source.label, router.source.state.version) for router in self.routers}

    async def _router(self, number: int, text: str | None) -> PolicyRouter:
        folder = self.folder / str(number)
        return await PolicyRouter(folder, self.store, self.timer, text=text or "").started()

    def _to_the_store(self, what: str) -> None:
        if what in {"down", "up"}:
            self.store.down = what == "down"
        elif what == "wipe":
            self.store.wipe()
        elif what == "older" and len(self.store._versions) > 1:
            self.store._versions.pop(0)
            self.store.current = self.store._versions[0]
        elif what == "lose reply":
            self.store.lose_replies = 1
        elif what == "wait":
            self.timer.now_s += 30.0


@settings(deadline=None, max_examples=40)
@example(events=[("file", 1, "f2"), ("older",), ("file", 0, "f1")])
@given(events=EVENTS)
async def test_routers_converge_and_come_to_rest(events: list[tuple[object, ...]]) -> None:
    """Once the store answers: the same version on all, and nothing published without a cause."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder))
        await fleet.start()
        for event in events:
            try:
                await fleet.happen(event)
            except (StoreUnavailableError, LookupError):
                continue
        fleet.store.down, fleet.store.lose_replies = False, 0
        for later_s in (0.0, 1000.0):  # then also every file that nobody sees any more has given way
            fleet.timer.now_s += later_s
            await fleet.rounds(3)
            fleet.timer.now_s += later_s
            in_force = await fleet.rounds(3)
            assert len(in_force) == 1
            published = fleet.store.current
            assert await fleet.rounds(5) == in_force
            assert fleet.store.current is published

"""From outcomes to drift events, and from events to evidence that is cut."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from fakes import T0, Clock, ending, policy_text, request

from policies.cells import CellDelta, CellKey, CellRecord, Origin
from policies.decide import Decision, Reason
from policies.drift import DriftEvent, TaskShare
from policies.evidence import RequestSteps, counters
from policies.learner import Drafter
from router.drifting import Drifting, described
from router.fake_store import FakeStore
from router.learning import Learning
from router.outcomes import Outcome
from router.policy_source import PolicySource
from router.stats import StatsBuffer
from router.stats_sync import StatsSync

pytestmark = pytest.mark.unit

CODE = CellKey("draft", "code", "low")


def decision(k: int) -> Decision:
    """A decision for `k`, on the drafting pool."""
    return Decision(profile="draft", k=k, reason=Reason.MODE)


class Router:
    """What one router has of statistics, learning and drift."""

    def __init__(
        self, folder: Path, store: FakeStore, *, replayed: Sequence[str] = (), seed: int = 1
    ) -> None:
        file = folder / "policy.yaml"
        file.write_text(policy_text())
        self.clock, self.rng = Clock(), Random(seed)
        self.buffer = StatsBuffer()
        self.sync = StatsSync(self.buffer, store, clock=self.clock)
        self.learning = Learning(self.buffer, {"draft": Drafter("draft_model", 8)})
        self.events: list[DriftEvent] = []
        self.drifting = Drifting(
            buffer=self.buffer,
            policies=PolicySource(file),
            learning=self.learning,
            replayed=replayed,
            hooks=[self.events.append],
        )

    def steps(self, alpha: float, k: int = 4) -> RequestSteps:
        of_request = self.rng.betavariate(12 * alpha, 12 * (1 - alpha))
        accepted = []
        for _ in range(30):
            kept = 0
            while kept < k and self.rng.random() < of_request:
                kept += 1
            accepted.append(kept)
        return RequestSteps(k, [k] * len(accepted), accepted)

    def serve(
        self, alpha: float, *, tenant: str = "acme", k: int = 4, learn: bool = True, weight: str = "1"
    ) -> None:
        """One request of the task, as the service records it."""
        steps = self.steps(alpha, max(k, 1))
        end = ending(steps.per_step_drafted, steps.per_step_accepted)
        self.clock.now_s += 0.1
        if learn:
            self.learning.record("draft", Origin("code", "low", tenant, 600.0), k, end, self.clock.now_s)
        self.drifting.on_outcome(
            Outcome(
                request=request({"x-specroute-weight": weight}, temperature=0.0),
                task="code",
                confidence=1.0,
                decision=decision(k),
                policy="p",
                result="completed",
                status=200,
                at_s=self.clock.now_s,
                decision_s=0.0,
                ending=end,
            )
        )

    def replay(self, alpha: float, *, weight: float = 1.0) -> None:
        """One replayed answer of the task."""
        self.clock.now_s += 0.1
        counts = {
            name: count
            for name, count in counters(self.steps(alpha, 1)).items()
            if name not in {"steps", "tokens", "drafted", "accepted"}
        } | {"drafted:1": 30.0, "proposing:1": 30.0}
        origin = Origin("code", "low", "acme", 600.0, weight)
        self.drifting.record_replay("draft", origin, counts, self.clock.now_s)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


def requests_of(record: CellRecord) -> float:
    return record.counters["requests"]


async def test_a_fallen_task_loses_its_old_evidence_in_all_cells(tmp_path: Path) -> None:
    """Of every tenant and temperature, and of replays; other tasks keep theirs, totals stay."""
    router = Router(tmp_path, FakeStore())
    others = [CODE._replace(temperature="high"), CODE.of_replays(), CODE._replace(task="qa")]
    lump = CellDelta(600.0, {"requests": 100.0}, {"requests": 100})
    router.buffer.record(dict.fromkeys(others, lump), T0)
    for _ in range(100):
        router.serve(0.8)
    await router.sync.flush()
    while not router.events and router.clock.now_s < T0 + 20:
        router.serve(0.4)
    assert router.kinds == ["task_fell"]
    for key in (CODE, CODE._replace(tenant="acme"), *others[:2]):
        assert requests_of(router.buffer[key]) <= 2.01 * 2
    assert requests_of(router.buffer[others[2]]) == pytest.approx(100.0, rel=0.05)
    served = round((router.clock.now_s - T0) / 0.1)
    assert router.buffer[CODE].lifetime["requests"] == served
    assert await router.sync.flush()
    assert router.buffer[CODE].lifetime["requests"] == served
    assert router.buffer[CODE].epoch == 1
    assert requests_of(router.buffer[CODE]) <= 4.02


async def test_new_evidence_outvotes_the_old_within_tens_of_requests(tmp_path: Path) -> None:
    """After thousands of requests at 0.75, forty at 0.40 are enough to believe them."""
    router = Router(tmp_path, FakeStore())
    for _ in range(1500):
        router.serve(0.75)
    await router.sync.flush()
    for _ in range(40):
        router.serve(0.40)
    policy = PolicySource(tmp_path / "policy.yaml").resolve(tenant="acme", task="code")
    believed = router.learning.estimate(
        profile="draft",
        task="code",
        temperature="low",
        tenant="acme",
        policy=policy,
        now_s=router.clock.now_s,
    )
    assert router.kinds == ["task_fell"]
    assert believed.alpha == pytest.approx(0.40, abs=0.09)


async def test_two_routers_cut_once_and_the_other_does_not_alarm_after_it(tmp_path: Path) -> None:
    """The slower one sees the epoch rise, starts its detector anew and stays silent."""
    store = FakeStore()
    fast, slow = Router(tmp_path, store, seed=1), Router(tmp_path, store, seed=2)
    for _ in range(100):
        fast.serve(0.8)
        slow.serve(0.8)
    for router in (fast, slow, fast):
        assert await router.sync.flush()
        assert await router.sync.refresh()
    for number in range(60):
        fast.serve(0.4)
        if number % 4 == 0:
            slow.serve(0.4)
        assert await fast.sync.flush()
        assert await slow.sync.refresh()
    for _ in range(60):
        slow.serve(0.4)
    assert (fast.kinds, slow.kinds) == (["task_fell"], [])
    assert await slow.sync.flush()
    record = (await store.changed_since(None)).records[CODE]
    assert record.epoch == 1
    assert record.lifetime["requests"] == 100 + 100 + 60 + 15 + 60


async def test_the_cut_does_not_wait_for_the_store(tmp_path: Path) -> None:
    """With the store away the router believes the new evidence at once."""
    store = FakeStore()
    router = Router(tmp_path, store)
    for _ in range(100):
        router.serve(0.8)
    await router.sync.flush()
    store.down = True
    for _ in range(40):
        router.serve(0.4)
    assert router.kinds == ["task_fell"]
    assert requests_of(router.buffer[CODE]) < 45
    store.down = False
    assert await router.sync.flush()
    assert (await store.changed_since(None)).records[CODE].epoch == 1


async def test_another_drafter_is_no_drift(tmp_path: Path) -> None:
    """What the one before had accepted is no reference for it: the first requests of the new one are."""
    router = Router(tmp_path, FakeStore())
    for _ in range(100):
        router.serve(0.3)
    await router.drifting.redrafted("draft", router.clock.now_s, cut=True)
    for _ in range(60):
        router.serve(0.8)
    assert router.kinds == []
    for _ in range(60):
        router.serve(0.3)
    assert router.kinds == ["task_fell"]


async def test_replays_are_watched_in_the_place_of_engine_steps(tmp_path: Path) -> None:
    """An answer counts once; a task that is served plainly is watched too."""
    router = Router(tmp_path, FakeStore(), replayed=["draft"])
    for _ in range(100):
        router.replay(0.8)
        router.serve(0.1, k=0)
    for _ in range(40):
        router.serve(0.1)
    assert router.kinds == []
    for _ in range(60):
        router.replay(0.3)
    assert router.kinds == ["task_fell"]


async def test_what_is_no_evidence_is_not_watched(tmp_path: Path) -> None:
    """Plain decoding, and requests without complete counts."""
    router = Router(tmp_path, FakeStore())
    for number in range(200):
        router.serve(0.8 if number < 100 else 0.2, k=0)
    assert router.events == []


async def test_a_calibrations_requests_are_no_traffic(tmp_path: Path) -> None:
    """One prompt asked many times looks like a task that moved; what counts as less than one is passed over."""
    for router in (Router(tmp_path, FakeStore()), Router(tmp_path, FakeStore(), replayed=["draft"])):
        for ask in (router.serve, router.replay):
            for _ in range(100):
                ask(0.8)
            for _ in range(100):
                ask(0.2, weight="0.2" if ask == router.serve else 0.2)
        assert router.kinds == []


SHIFT = DriftEvent("traffic_shift", "draft", None, T0, 0.7, 0.5, 120, gained=(TaskShare("qa", 0.1, 0.6),))
ROT = DriftEvent("drafter_rot", "draft", None, T0, 0.7, 0.4, 36, fallen=("code", "math", "qa"))
FELL = DriftEvent("task_fell", "draft", "code", T0, 0.75, 0.41, 12)


def test_the_log_says_what_to_know() -> None:
    """Who moved, from where to where, and for rot and shifts what it means."""
    assert described(FELL).startswith("drift: code on draft fell: alpha 0.75 -> 0.41, seen in 12 requests")
    assert "code, math, qa all fell" in described(ROT)
    assert "match its target" in described(ROT)
    assert "its drafter did not" in described(SHIFT)
    assert "qa 10% -> 60%" in described(SHIFT)

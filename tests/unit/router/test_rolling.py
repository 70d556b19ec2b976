"""A pool's engines are started anew one by one: what the service does, and what the command asks of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import NGRAM, VANILLA, FakePool
from starlette.applications import Starlette
from typer.testing import CliRunner

from replicas.frames import ReplicaError
from replicas.profiles import Profile
from router.admin_client import AdminClient, AdminError, AdminTokenError, Answer
from router.api import _api_error
from router.cli import app
from router.drift_watch import DriftWatch
from router.errors import ApiError
from router.pools import Pools
from router.renewing import Renewals
from router.rolling import RollError, drafted_pool, roll

pytestmark = pytest.mark.unit

EAGLE = Profile(name="eagle3", method="eagle3", k=3, draft_model="/drafter", replicas=2)


class EnginesPool(FakePool):
    """A pool whose engines have names, and are replaced when they have gone."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.current = "/versions/0002-new"
        self.engines = [
            {"replica": name, "drafter": "/versions/0001-old", "leaving": False} for name in names
        ]
        self.renewed: list[str] = []
        self.comes_back = True

    async def drafters(self, limit_s: float) -> list[dict[str, Any]]:
        """Those that are there; one that goes is back at the next look."""
        if not self.engines:
            raise ReplicaError("no replica answers")
        found = [dict(engine) for engine in self.engines]
        for engine in self.engines:
            if engine["leaving"] and self.comes_back:
                engine |= {"replica": f"{engine['replica']}'", "drafter": self.current, "leaving": False}
        return found

    async def renew(self, replica: str, drain_s: float, limit_s: float) -> bool:
        """Note it."""
        for engine in self.engines:
            if engine["replica"] == replica:
                engine["leaving"] = True
                self.renewed.append(replica)
                return True
        return False


class Running:
    """The endpoints over some pools, called as the command's client calls them."""

    def __init__(self, eagle: EnginesPool, *, plain: bool = True) -> None:
        self.eagle = eagle
        self.pools = Pools([(EAGLE, eagle), (VANILLA, FakePool())])
        for state in self.pools:
            state.available = plain if state.profile is VANILLA else True
        self.app = Starlette(
            routes=Renewals(self.pools, drain_s=7.0, evidence_of={"eagle3": "0001-old"}.get).routes(
                lambda handler: handler
            ),
            exception_handlers={ApiError: _api_error},
        )

    async def call(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """One request."""
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answer = await client.request(method, path, content=body)
        return Answer(answer.status_code, "", answer.json())


class Client(AdminClient):
    """A client whose calls are answered by a function."""

    def __init__(self, answering: Callable[[str, str, bytes | None], Answer]) -> None:
        super().__init__("http://here")
        self._answering = answering

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request."""
        return self._answering(method, path, body)


@pytest.fixture
def eagle() -> EnginesPool:
    """Two engines with the old drafter."""
    return EnginesPool("a", "b")


def client_of(running: Running) -> Client:
    """In an event loop of its own for each call, as the command has none."""
    import asyncio

    return Client(lambda method, path, body: asyncio.run(running.call(method, path, body)))


def test_engines_change_one_after_the_other(eagle: EnginesPool) -> None:
    """Each when the one before is back; a second time there is nothing to do."""
    said: list[str] = []
    client = client_of(Running(eagle))
    assert roll(client, "eagle3", "0002-new", say=said.append, sleep=lambda _: None) == 2
    assert eagle.renewed == ["a", "b"]
    assert said[1] == "rolling: eagle3: engine b is started anew, 0 to go"
    assert roll(client, "eagle3", "0002-new", say=said.append, sleep=lambda _: None) == 0


def test_a_successor_that_does_not_come_ends_it(eagle: EnginesPool) -> None:
    """With what is where; the other engine is left as it is."""
    eagle.comes_back = False
    now: Iterator[float] = iter(range(0, 10_000, 100))
    with pytest.raises(RollError, match="eagle3: 0 engines have 0002-new, 2 have not, and the next does not"):
        roll(
            client_of(Running(eagle)),
            "eagle3",
            "0002-new",
            say=lambda _: None,
            sleep=lambda _: None,
            clock=lambda: next(now),
        )
    assert eagle.renewed == ["a"]


def test_the_last_one_that_answers_is_not_ended() -> None:
    """Unless another pool answers meanwhile."""
    alone = EnginesPool("a")
    lonely = Running(alone, plain=False)
    for state in lonely.pools:
        state.engines = 1
    with pytest.raises(
        RollError, match="the only one that answers: nobody would, while its successor starts"
    ):
        roll(client_of(lonely), "eagle3", "0002-new", say=lambda _: None, sleep=lambda _: None)
    assert alone.renewed == []
    accompanied = Running(alone)
    for state in accompanied.pools:
        state.engines = 1
    assert roll(client_of(accompanied), "eagle3", "0002-new", say=lambda _: None, sleep=lambda _: None) == 1


def test_a_service_that_is_away_for_a_moment_is_asked_again(eagle: EnginesPool) -> None:
    """Its router or its proxy may be coming back."""
    usual, calls = client_of(Running(eagle)), iter(range(100))

    def answering(method: str, path: str, body: bytes | None) -> Answer:
        if next(calls) % 2:
            raise AdminError("http://here: refused: is the service running?")
        return usual.call(method, path, body)

    with pytest.raises(AdminError):  # a POST is not repeated: it may have been done
        roll(Client(answering), "eagle3", "0002-new", say=lambda _: None, sleep=lambda _: None)
    eagle.engines[0]["leaving"] = True
    calls = iter(range(1, 100))
    with pytest.raises(AdminError):
        roll(Client(answering), "eagle3", "0002-new", say=lambda _: None, sleep=lambda _: None)


def test_the_pool_is_the_one_with_a_drafters_folder(eagle: EnginesPool) -> None:
    """Or the one that is named."""
    client = client_of(Running(eagle))
    assert drafted_pool(client, None)["profile"] == "eagle3"
    assert drafted_pool(client, "vanilla")["profile"] == "vanilla"
    with pytest.raises(
        RollError, match=r"--profile: the service has no pool 'eagle'; it has eagle3, vanilla"
    ):
        drafted_pool(client, "eagle")


@pytest.mark.parametrize(
    ("body", "status", "complaint"),
    [
        (b"{", 400, "body: expected"),
        (b'{"profile": "eagle3"}', 400, "body: expected"),
        (b'{"profile": "none", "replica": "a"}', 404, "no pool 'none'; there are: eagle3, vanilla"),
        (b'{"profile": "eagle3", "replica": "z"}', 404, "eagle3 has no replica z"),
        (b'{"profile": "vanilla", "replica": "a"}', 404, "vanilla has no replica a"),
    ],
)
async def test_bad_bodies_are_refused(eagle: EnginesPool, body: bytes, status: int, complaint: str) -> None:
    """With what to do."""
    answer = await Running(eagle).call("POST", "/admin/v1/engines/renew", body)
    assert (answer.status, complaint in answer.message) == (status, True)
    assert eagle.renewed == []


async def test_a_pool_of_which_nobody_answers_has_no_engines(eagle: EnginesPool) -> None:
    """It is not an error: they are being started."""
    eagle.engines = []
    answer = await Running(eagle).call("GET", "/admin/v1/engines?profile=eagle3")
    assert answer.body["pools"][0] == {
        "profile": "eagle3",
        "method": "eagle3",
        "draft_model": "/drafter",
        "expected": 2,
        "evidence_of": "0001-old",
        "engines": [],
    }


def event(at: float, kind: str = "drafter_rot", profile: str = "eagle3") -> dict[str, Any]:
    """A drift event as the admin API shows it."""
    return {"kind": kind, "profile": profile, "at": at, "before": 0.7, "after": 0.3}


def test_the_watch_waits_for_rot_and_then_for_its_rest() -> None:
    """Other pools, single tasks and old events are none of its business; one refresh in so many seconds."""
    now = [1000.0]
    events = [event(900.0), event(2000.0, "task_fell"), event(2000.0, profile=NGRAM.name)]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if len(events) == 3 and now[0] > 1500:
            events.insert(0, event(now[0]))

    def answering(*_: Any) -> Answer:
        if now[0] == 1030:
            raise AdminError("http://here: refused")
        return Answer(200, "", json.loads(json.dumps({"events": events})))

    said: list[str] = []
    watch = DriftWatch(
        Client(answering), "eagle3", least_s=600.0, say=said.append, sleep=sleep, clock=lambda: now[0]
    )
    assert watch.wait()["at"] == pytest.approx(1510.0)
    assert said == [
        "watch: http://here: refused; it is asked again",
        "watch: the service answers again",
        "watch: the drafter of eagle3 rots: alpha 0.70 -> 0.30",
    ]
    watch.refreshed()
    rested_s = now[0]
    events.insert(0, event(rested_s + 60))
    watch.wait()
    assert now[0] >= rested_s + 600


def test_the_watch_says_once_why_the_service_cannot_be_asked() -> None:
    """Once for each change: a token that is not right any more, a failure, an absence; and it goes on."""
    refused = AdminTokenError("http://here: its own token: is SPECROUTE_ADMIN_TOKEN set?")
    failed = Answer(503, "", {"error": {"message": "not yet"}})
    away = AdminError("http://here: refused")
    quiet = Answer(200, "", {"events": []})
    found = Answer(200, "", {"events": [event(10_000.0)]})
    answers: Iterator[Answer | AdminError] = iter(
        [refused, refused, failed, failed, Answer(500, "", {}), away, away, quiet, refused, found]
    )

    def answering(*_: Any) -> Answer:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    said: list[str] = []
    DriftWatch(
        Client(answering), "eagle3", least_s=0.0, say=said.append, sleep=lambda _: None, clock=lambda: 0.0
    ).wait()
    token = (
        "watch: http://here: its own token: is SPECROUTE_ADMIN_TOKEN set? Until it is right nothing is noticed: "
        "give SPECROUTE_ADMIN_TOKEN the service's token and start the watch anew"
    )
    assert said == [
        token,
        "watch: the service answers 503: not yet; it is asked again",
        "watch: the service answers 500: it does not say why; it is asked again",
        "watch: http://here: refused; it is asked again",
        "watch: the service answers again",
        token,
        "watch: the service answers again",
        "watch: the drafter of eagle3 rots: alpha 0.70 -> 0.30",
    ]


def test_rolling_does_not_wait_for_a_token_to_become_right(eagle: EnginesPool) -> None:
    """Nothing but its owner changes it."""

    def answering(*_: Any) -> Answer:
        raise AdminTokenError("http://here: is SPECROUTE_ADMIN_TOKEN set?")

    with pytest.raises(AdminTokenError):
        roll(Client(answering), "eagle3", "0002-new", say=lambda _: None, sleep=lambda _: None)
    assert eagle.renewed == []


@pytest.mark.parametrize("option", [["--watch", "--captured", "here"], ["--roll"]])
def test_a_wrong_token_is_bad_input(
    option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is begun; one line that names the variable, and code 2."""

    def call(*_: Any) -> Answer:
        raise AdminTokenError("http://here/admin/v1/engines: wrong: is SPECROUTE_ADMIN_TOKEN set?")

    monkeypatch.setattr(AdminClient, "call", call)
    command = ["draft", "refresh", "--drafter", str(tmp_path), "--url", "http://here", *option]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2, result.output
    assert "is SPECROUTE_ADMIN_TOKEN set?" in result.stderr
    assert len(result.stderr.strip().split("\n")) == 1

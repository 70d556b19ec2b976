"""Real engines are killed in turn while clients read streams: no stream fails, no answer changes."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import breaking
import httpx
import psutil
import pytest
from scenario_table import ROWS, Row
from services import MODEL, Service, policy
from waiting import until_async

SUBJECTS = (
    "rivers",
    "lamps",
    "a ferry",
    "winter",
    "bread",
    "the moon",
    "a library",
    "trains",
    "salt",
    "bees",
)
FORMS = (
    "Write three sentences about {}.",
    "List seven words that have to do with {}, one a line.",
    "Repeat this line four times: all about {} and nothing else.",
    "Write a Python function that counts {} in a list, with a docstring.",
)
PROMPTS = [form.format(subject) for subject, form in itertools.product(SUBJECTS, FORMS)]
ROUNDING = 1e-3
"""Two tokens whose log-probabilities are closer may change places: batches sum float32 products in any order."""


class Scenario(NamedTuple):
    """How many streams, how long, and which processes are killed: a pool's replica, or its engine core."""

    streams: int
    at_once: int
    tokens: int
    kills: tuple[tuple[str, str], ...]


SMALL = Scenario(16, 8, 48, (("vanilla", "core"), ("ngram", "replica")))
LARGE = Scenario(
    120, 12, 64, (("vanilla", "core"), ("ngram", "core"), ("vanilla", "replica"), ("ngram", "replica"))
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`specroute serve` on two real engines."""
    folder = tmp_path_factory.mktemp("killed")
    file = folder / "policy.yaml"
    file.write_text(policy("killed", limits={"deadline": "1500s"}))
    service = Service(folder / "service", fake_engines=None, policy={"path": str(file)})
    try:
        yield service.wait_until_ready()
    finally:
        service.end(signal.SIGINT, group=True)


class Reference(NamedTuple):
    """An unbroken answer, and how far apart the two best tokens were at each place."""

    text: str
    token_ids: list[int]
    gaps: list[float]


def body(prompt: str, tokens: int) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0,
        "return_token_ids": True,
    }


async def reference(http: httpx.AsyncClient, prompt: str, tokens: int) -> Reference:
    asked = body(prompt, tokens) | {"logprobs": True, "top_logprobs": 2}
    response = await http.post("/v1/chat/completions", json=asked, headers={"X-Specroute-Route": "vanilla"})
    (choice,) = response.json()["choices"]
    gaps = []
    for entry in choice["logprobs"]["content"]:
        high, low = sorted((best["logprob"] for best in entry["top_logprobs"]), reverse=True)[:2]
        gaps.append(high - low)
    return Reference(choice["message"]["content"], choice["token_ids"], gaps)


def gap_where_it_parts(stream: breaking.Stream, expected: Reference) -> float:
    """0 < gap: the distance of the two best tokens where the stream says something else for the first time."""
    pairs = itertools.zip_longest(stream.token_ids, expected.token_ids)
    place = next(place for place, (mine, theirs) in enumerate(pairs) if mine != theirs)
    return expected.gaps[place] if place < len(expected.gaps) else float("inf")


def process_of(service: Service, profile: str, kind: str) -> psutil.Process:
    """A pool's replica, or the engine core that is its child."""
    (replica,) = breaking.replicas(service.processes(), profile)
    if kind == "replica":
        return replica
    return next(child for child in replica.children(recursive=True) if child.name().startswith("VLLM"))


async def _started(http: httpx.AsyncClient, profile: str, *, before: Callable[[], bool]) -> bool:
    found = (await breaking.pools(http))[profile]
    return bool(found["available"] and not found["ejected"]) and not before()


async def kill_in_turn(
    service: Service, http: httpx.AsyncClient, scenario: Scenario, began: Callable[[str], Awaitable[None]]
) -> list[float]:
    """Kill one process after the other, each when the one before was replaced; the seconds that took."""
    seconds = []
    for number, (profile, kind) in enumerate(scenario.kills):
        await began(profile)
        old = process_of(service, profile, kind)
        children = old.children(recursive=True)
        breaking.kill(old)
        # Nothing outlives it: least of all the core of a replica.
        await until_async(lambda c=children: not any(breaking.lives(child) for child in c))  # type: ignore[misc]
        if number == len(scenario.kills) - 1:
            break
        at_s = time.monotonic()
        await asyncio.sleep(1.0)  # until it is noticed
        await until_async(lambda p=profile, o=old: _started(http, p, before=o.is_running), 900)  # type: ignore[misc]
        seconds.append(round(time.monotonic() - at_s, 1))
    return seconds


async def play(service: Service, scenario: Scenario) -> dict[str, Any]:
    """Run streams until all kills are done and there were enough of them; what came of it."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=service.url, timeout=1500, limits=limits) as http:
        prompts = PROMPTS[: max(scenario.streams // 3, scenario.at_once)]
        slots = asyncio.Semaphore(scenario.at_once)

        async def referred(prompt: str) -> Reference:
            async with slots:
                return await reference(http, prompt, scenario.tokens)

        found = await asyncio.gather(*(referred(prompt) for prompt in prompts))
        expected = dict(zip(prompts, found, strict=True))
        before = await breaking.failovers(http)
        streams: list[breaking.Stream] = []
        seen: list[breaking.Stream] = []
        over = asyncio.Event()
        turns = itertools.count()

        async def client() -> None:
            while not over.is_set() or len(streams) < scenario.streams:
                number = next(turns)
                route = {"X-Specroute-Route": ("vanilla", "speculative")[number % 2]}
                asked = body(prompts[number % len(prompts)], scenario.tokens)
                streams.append(await breaking.read(http, asked, route, seen))

        async def began(profile: str) -> None:
            """Return when an engine has streams that are some tokens into their answers."""

            def several() -> bool:
                return sum(stream.profile == profile and stream.early for stream in seen) >= 2

            await until_async(several, every_s=0.01)

        clients = [asyncio.create_task(client()) for _ in range(scenario.at_once)]
        try:
            seconds = await kill_in_turn(service, http, scenario, began)
        finally:
            over.set()
            await asyncio.gather(*clients)

        async def idle() -> bool:
            return not any(pool["in_flight"] for pool in (await breaking.pools(http)).values())

        await until_async(idle)
        after = await breaking.failovers(http)
    complaints: dict[str, list[str]] = {}
    gaps = []
    for stream in streams:
        wanted = expected[stream.prompt]
        wrong = stream.complaints(stream.text, len(stream.token_ids))
        if not wrong and (stream.text, stream.token_ids) != (wanted.text, wanted.token_ids):
            gap = gap_where_it_parts(stream, wanted)
            gaps.append(gap)
            wrong = [f"parts where the best two are {gap:.1e} apart"] if gap >= ROUNDING else []
        if wrong:
            complaints[f"{stream.prompt} {stream.details}"] = wrong
    moved = {stage: after[stage] - before.get(stage, 0.0) for stage in after}
    return {
        "streams": len(streams),
        "failed": sum(not stream.done or stream.error is not None for stream in streams),
        "resumed": sum(stream.resumed for stream in streams),
        "moved": sum(stream.details.get("failovers", 0) for stream in streams),
        "counted": moved,
        "identical": len(streams) - len(gaps),
        "within_rounding": sum(gap < ROUNDING for gap in gaps),
        "kills": [f"{profile} {kind}" for profile, kind in scenario.kills],
        "seconds_to_return": seconds,
        "complaints": complaints,
    }


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(SMALL, marks=pytest.mark.engine, id="each engine once"),
        pytest.param(LARGE, marks=pytest.mark.chaos, id="each engine twice"),
    ],
)
async def test_engines_are_killed_in_turn(service: Service, scenario: Scenario) -> None:
    """0 failed; greedy answers are those of unbroken streams, but for near ties; nothing stays in flight."""
    report = await play(service, scenario)
    print(json.dumps(report, indent=1))
    failed = report["failed"] + len(report["complaints"])
    ROWS.append(Row("engines killed in turn", "real", report["streams"], failed, report["resumed"]))
    assert report["complaints"] == {}
    assert report["failed"] == 0
    assert report["resumed"] > 0
    assert report["counted"]["mid_stream"] == report["resumed"]
    assert sum(report["counted"].values()) == report["moved"]

"""The end-to-end bench as it runs: order of the sides, fleets, journal, budget. No engine, no process."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.endtoend.answers import Answer, Sampling, ask
from bench.endtoend.claims import is_fixed
from bench.endtoend.command import Options, cells_of, done_repeats
from bench.endtoend.journal import Journal
from bench.endtoend.outside import MEASURES, OutsideClient, conversations, outside_rows
from bench.endtoend.run import RATE, Asked, Run, Warmth
from bench.endtoend.running import Fleets
from bench.endtoend.schedule import Block, schedule
from bench.endtoend.sides import Drafter, Fleet, chosen_topology, drafters, fleets, sides
from bench.endtoend.workload import Prompt, Workload
from bench.results import BenchError, OptionError

pytestmark = pytest.mark.unit

GREEDY = Sampling("greedy", 0.0, 8)
PROMPTS = [Prompt(f"qa-{n:03x}", "qa", "own", [{"role": "user", "content": f"Why {n}?"}]) for n in range(12)]
WORKLOAD = Workload({"qa": PROMPTS[:6]}, PROMPTS[6:])
NGRAM = Drafter({"method": "ngram", "k": 8})
HEADERS = {"x-specroute-k": "4", "x-specroute-route": "speculative", "x-specroute-profile": "drafts"}


def stream(*events: dict[str, Any] | str) -> bytes:
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


ANSWER = stream(
    {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"delta": {"content": "Because"}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"completion_tokens": 8}},
    "[DONE]",
)


def client(answer: Callable[[httpx.Request], httpx.Response] | None = None) -> httpx.AsyncClient:
    """One whose every request is answered here."""
    usual = answer or (lambda _: httpx.Response(200, content=ANSWER, headers=HEADERS))
    return httpx.AsyncClient(transport=httpx.MockTransport(usual))


class Service:
    """A fleet that is only noted down."""

    log: list[str] = []  # noqa: RUF012 - emptied by each test

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.name = fleet.name
        self.url = f"http://{fleet.name}"
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        self.log.append(f"+{self.name}")

    def wait_until_ready(self) -> None:
        return

    def wait_until_rehearsed(self) -> bool:
        return True

    def end(self) -> None:
        self.log.append(f"-{self.name}")


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    Service.log.clear()


def running(run: Run, folder: Path, *, most: int) -> Fleets:
    made = fleets([NGRAM], "both", [(1, 16, 4)], {})
    return Fleets(made, folder, most=most, warm=run.warm, say=lambda _: None, make=Service)


def run_of(journal: Journal, asking: httpx.AsyncClient) -> Run:
    asked = Asked(WORKLOAD, 2, Warmth(4, [GREEDY]), "model")
    return Run(asked, journal, asking, lambda _: None)


def blocks(wanted: list[str], *, all_at_once: bool = True, **options: Any) -> list[Block]:
    cells = cells_of(Options(loads=("closed-2", "open-0.5"), **options))
    return schedule(sides([NGRAM], (2, 4), wanted), cells, repeats=2, all_at_once=all_at_once)


def test_repeats_go_forwards_and_backwards() -> None:
    """Where all fleets fit, every load is answered by all sides before the next one."""
    keys = [block.key for block in blocks(["vanilla", "static-k2"])]
    assert keys[:4] == [
        "0/closed-2/greedy/vanilla",
        "0/closed-2/greedy/static-k2",
        "0/open-0.5/greedy/vanilla",
        "0/open-0.5/greedy/static-k2",
    ]
    assert [key.partition("/")[2] for key in keys[6:]] == [key.partition("/")[2] for key in keys[:6]][::-1]


def test_engines_are_changed_seldom_where_memory_is_short() -> None:
    """A fleet answers all loads, and at the turn goes on with the next repeat."""
    fleets_of = [block.side.fleet for block in blocks([], all_at_once=False)]
    changes = sum(one != other for one, other in pairwise(fleets_of))
    assert changes == 2 * (6 - 1)


def test_all_sides_of_a_cell_are_asked_the_same() -> None:
    """And every repeat and cell something else."""
    numbers = {(b.repeat, b.cell.number): b.prompts for b in blocks([])}
    assert all(b.prompts == numbers[b.repeat, b.cell.number] for b in blocks([]))
    assert len(set(numbers.values())) == len(numbers)


def test_a_cold_side_answers_first_thing_only() -> None:
    """Under one load; afterwards it has learned."""
    cold = [block for block in blocks([]) if block.side.cold]
    assert [block.key for block in cold] == [
        "0/closed-2/greedy/adaptive-cold",
        "1/closed-2/greedy/adaptive-cold",
    ]


def test_every_side_has_two_engines() -> None:
    """Whatever the topology and the drafter."""
    model = Drafter({"method": "eagle3", "k": 4, "draft_model": "folder"})
    for drafter, topology in ((NGRAM, "both"), (model, "mixed")):
        assert chosen_topology([drafter], None)[0] == topology
        for fleet in fleets([drafter], topology, [(1, 16, 4)], {}).values():
            assert sum(profile.get("replicas", 1) for profile in fleet.args["profiles"]) == 2
    with pytest.raises(BenchError, match="name some of vanilla, static-k2"):
        sides([NGRAM], (2,), ["static-k9"])


def test_two_drafters_have_an_engine_each_where_something_decides() -> None:
    """Their static sides have two engines of one drafter, and names of their own."""
    offered = drafters([{"method": "ngram", "k": 8}, {"method": "eagle3", "k": 4, "draft_model": "folder"}])
    chosen = sides(offered, (4, 8))
    assert [side.name for side in chosen] == [
        *("vanilla", "static-ngram-k4", "static-ngram-k8", "static-eagle3-k4"),
        *("batch-table-ngram", "batch-table-eagle3", "threshold", "adaptive", "adaptive-cold"),
    ]
    assert [side.name for side in chosen if not is_fixed(side.name)] == [
        "threshold",
        "adaptive",
        "adaptive-cold",
    ]
    topology, _ = chosen_topology(offered, None)
    found = fleets(offered, topology, [(1, 16, 4)], {})
    pools = {
        name: [(profile["name"], profile.get("replicas", 1)) for profile in fleet.args["profiles"]]
        for name, fleet in found.items()
    }
    assert pools["adaptive"] == [("ngram", 1), ("eagle3", 1)]
    assert pools["static-eagle3"] == [("eagle3", 2)]
    assert {side.fleet for side in chosen} <= set(found)
    assert found["adaptive"].policy["spec"]["k"]["max"] == 8
    assert found["static-eagle3"].policy["spec"]["k"]["max"] == 4


@pytest.mark.parametrize(
    "profiles", [[{"method": "ngram", "k": 2}] * 2, [{"method": "ngram", "k": 2}] * 3, []]
)
def test_there_are_not_more_drafters_than_engines(profiles: list[dict[str, Any]]) -> None:
    """Nor two that could not be told apart, nor none."""
    with pytest.raises(OptionError, match="write one, or two of different methods"):
        drafters(profiles)


def test_a_topology_is_for_a_number_of_drafters() -> None:
    """One engine of each needs two, the others one."""
    two = [NGRAM, Drafter({"method": "eagle3", "k": 4}, "eagle3")]
    for offered, topology in (([NGRAM], "each"), (two, "both")):
        with pytest.raises(OptionError, match="`each` is for two drafters"):
            chosen_topology(offered, topology)


async def test_an_answer_is_counted_by_its_usage() -> None:
    """The first token is the first text; tokens are what the service says, not events."""
    found = await ask(client(), "http://x", PROMPTS[0], GREEDY, {}, model="model")
    assert (found.tokens, found.k, found.profile, found.task) == (8, 4, "drafts", "qa")
    assert 0 < found.ttft_s <= found.total_s


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (httpx.Response(429, json={"error": {"message": "too many"}}), "HTTP 429.*too many"),
        (httpx.Response(200, content=stream({"error": {"message": "engine"}})), "engine"),
        (httpx.Response(200, content=stream("[DONE]")), "without usage"),
    ],
)
async def test_what_is_no_answer_is_told(response: httpx.Response, said: str) -> None:
    """Refusals, errors within a stream, and streams that just end."""
    with pytest.raises(BenchError, match=said):
        await ask(client(lambda _: response), "http://x", PROMPTS[0], GREEDY, {}, model="model")


async def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Blocks in the journal are not asked again, and what learned is not warmed up twice."""
    plan, file = blocks(["adaptive"]), tmp_path / "journal.jsonl"
    first = Journal(file, "f")
    run = run_of(first, client())
    async with running(run, tmp_path, most=3) as fleet:
        assert not await run.blocks(plan, fleet, until_s=0.0)
        assert await run.blocks(plan[:3], fleet, until_s=None)
    with file.open("a") as cut:
        cut.write('{"block": "half')
    asked = 0

    def count(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(200, content=ANSWER, headers=HEADERS)

    again = Journal(file, "f")
    assert set(again.blocks) == {block.key for block in plan[:3]}
    assert again.notes[RATE] > 0
    assert list(done_repeats(plan, again)) == []
    run = run_of(again, client(count))
    async with running(run, tmp_path, most=3) as fleet:
        assert await run.blocks(plan, fleet, until_s=None)
    assert asked == 2 * len(plan[3:]) + 2 * 8  # and after each of two starts eight
    assert len(list(done_repeats(plan, again))) == len(plan)
    with pytest.raises(BenchError, match="other settings"):
        Journal(file, "g")


async def test_fleets_make_room_for_each_other(tmp_path: Path) -> None:
    """The one that rested longest ends; a cold one is made anew; in the end none is left."""
    run = run_of(Journal(tmp_path / "j", "f"), client())
    async with running(run, tmp_path, most=2) as fleet:
        for name in ("plain", "static", "plain", "batch-table", "adaptive-cold", "adaptive-cold"):
            await fleet.url(name)
    assert Service.log == [
        *("+plain", "+static", "-static", "+batch-table", "-plain", "+adaptive-cold", "-adaptive-cold"),
        *("+adaptive-cold", "-batch-table", "-adaptive-cold"),
    ]


async def test_a_block_is_tried_again_on_fresh_engines(tmp_path: Path) -> None:
    """A fleet that failed is started anew; if that fails, too, the run ends with what was wrong."""
    run = run_of(Journal(tmp_path / "j", "f"), client(lambda _: httpx.Response(503)))
    async with running(run, tmp_path, most=2) as fleet:
        with pytest.raises(BenchError, match="HTTP 503"):
            await run.blocks(blocks(["vanilla"]), fleet, until_s=None)
    assert Service.log == 3 * ["+plain", "-plain"]


async def test_a_side_that_fails_is_left_out(tmp_path: Path) -> None:
    """The others go on and have figures; without the plain side there is nothing to compare with."""

    def answered(request: httpx.Request) -> httpx.Response:
        if request.url.host == "batch-table":
            return httpx.Response(500, json={"error": {"message": "no such option"}})
        return httpx.Response(200, content=ANSWER, headers=HEADERS)

    plan, journal = blocks(["batch-table"]), Journal(tmp_path / "j", "f")
    run = run_of(journal, client(answered))
    async with running(run, tmp_path, most=2) as fleet:
        assert not await run.blocks(plan, fleet, until_s=None)
    assert Service.log.count("+batch-table") == 3
    assert "no such option" in run.failed["batch-table"]
    assert list(done_repeats(plan, journal)) == []
    found = list(done_repeats(plan, journal, run.failed))
    assert {(one.repeat, one.side) for one in found} == {(0, "vanilla"), (1, "vanilla")}


def test_sides_of_a_drafter_that_remembers_share_no_engines() -> None:
    """What one of them answered would be another's draft."""
    suffix = Drafter({"method": "suffix", "k": 4})
    chosen = [side.fleet for side in sides([suffix], (2, 4))]
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(fleets([suffix], "both", [(1, 16, 4)], {}))
    shared = [side.fleet for side in sides([NGRAM], (2, 4))]
    assert shared.count("static") == 2


def test_static_sides_have_the_k_they_are_named_for() -> None:
    """No policy of theirs lets the router choose another for a crowd."""
    found = fleets([NGRAM], "both", [(1, 16, 4)], {})
    assert {found[name].policy["spec"]["k"]["mode"] for name in ("static", "batch-table")} == {"engine"}


async def test_the_outside_client_stops_when_the_time_is_up(tmp_path: Path) -> None:
    """Repeats that are whole count, and those from before are not asked again."""
    journal = Journal(tmp_path / "j", "f")
    outside = OutsideClient(journal, tmp_path, WORKLOAD, 3, model="model", tokenizer="folder", max_tokens=64)
    chosen = sides([NGRAM], (), ["adaptive"])
    measures = dict.fromkeys(MEASURES, 2.0)
    for noted in ("0/vanilla", "0/adaptive", "1/adaptive"):
        journal.note(f"outside: {noted}", measures)
    async with running(run_of(journal, client()), tmp_path, most=2) as fleet:
        found = await outside.compared(chosen, fleet, 2, lambda _: None, until_s=0.0)
        assert not found.whole
        assert [row["side"] for row in found.rows] == ["vanilla", "adaptive"]
        assert (await outside.compared(chosen, fleet, 1, lambda _: None, until_s=0.0)).whole
    assert Service.log == []
    assert outside_rows({"vanilla": []}) == []


def test_the_outside_client_is_asked_to_measure_what_we_compare(tmp_path: Path) -> None:
    """Single turns in ShareGPT's form, another set every repeat, with the side's headers."""
    first, second = (conversations(WORKLOAD, 3, repeat) for repeat in (0, 1))
    assert [entry["conversations"][0]["value"] for entry in first] == ["Why 0?", "Why 1?", "Why 2?"]
    assert first != second
    journal = Journal(tmp_path / "j", "f")
    outside = OutsideClient(journal, tmp_path, WORKLOAD, 3, model="model", tokenizer="folder", max_tokens=64)
    words = outside.arguments("http://x", tmp_path / "p.json", tmp_path / "r.json", {"X-Specroute-K": "4"})
    assert words[-2:] == ["--header", "X-Specroute-K=4"]
    runs = [dict.fromkeys(MEASURES, 2.0) for _ in range(2)]
    rows = outside_rows({"vanilla": runs, "adaptive": [{k: v / 2 for k, v in run.items()} for run in runs]})
    assert rows[1]["ratio_median_e2el_ms"] == pytest.approx((0.5, 0.5, 0.5))


def test_answers_of_one_token_have_no_time_per_token() -> None:
    """They would divide by zero."""
    assert Answer("p", "qa", 1.0, 1.0, 1, 0, "", "", "").tpot_s is None

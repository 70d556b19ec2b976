"""A calibration that was interrupted goes on, although the service is another by then."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from calibrated_service import COST, FACTS, STEP_S, PretendedService, options

from policies.calibrating import PoolFacts
from policies.cost import StepTime, calibrated_profile
from router.calibrating import command as module
from router.calibrating.asking import Asker
from router.calibrating.journal import Journal
from router.calibrating.service import Facts

pytestmark = pytest.mark.unit

VANILLA, NGRAM = FACTS.pools
KEPT = 5
"""Blocks that are measured before the interruption."""


class Run:
    """Calibrates a pretended service again and again; `facts` and `step_s` are what it tells by then."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, told: Callable[[], Any]) -> None:
        self.service = PretendedService(code=0.9, creative=0.1)
        self.facts = FACTS
        self.step_s = STEP_S
        self._told = told
        self._patch = patch
        self._folder = folder

        def asker(url: str, found: Facts, **options: Any) -> Asker:
            return Asker(url, found, **options, transport=self.service.transport)

        patch.setattr(module, "Asker", asker)
        patch.setattr(module, "facts", lambda _url, _key: self.facts)
        patch.setattr(module, "cost", lambda _url: self.cost())

    def cost(self) -> dict[str, Any]:
        """What the service tells of its step times."""
        entry = {**calibrated_profile(StepTime(self.step_s), 0.05, 900), "source": "measured"}
        return {**COST, "profiles": {"vanilla": entry, "ngram": entry}}

    def __call__(self, *, interrupted: bool = False, **changes: Any) -> tuple[int, str, dict[str, Any]]:
        """Exit code, what was said, and the results."""
        with self._patch.context() as patched:
            if interrupted:
                patched.setattr(module.Runner, "_measure", _interrupted(module.Runner._measure))
            code = module.run_calibration(options(self._folder, temperatures=(0.0,), **changes))
        out, err = self._told()
        return code, err, json.loads(out) if out else {}


def _interrupted(whole: Any) -> Any:
    measured: list[int] = []

    async def measure(self: Any, number: int, block: Any) -> Any:
        if len(measured) == KEPT:
            raise KeyboardInterrupt
        measured.append(number)
        return await whole(self, number, block)

    return measure


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Code gets good drafts, creative bad ones."""
    return Run(tmp_path, monkeypatch, capsys.readouterr)


@pytest.mark.parametrize("then", [STEP_S / 3, 4 * STEP_S])
def test_a_budget_is_spent_on_the_prompts_it_was_spent_on_first(run: Run, then: float) -> None:
    """Whatever the service takes for a step by now: the number of prompts is settled when it begins."""
    code, told, _ = run(interrupted=True, budget_s=40.0)
    assert code == 1
    assert f"stopped: {KEPT} of " in told
    run.step_s = then
    again, told, found = run(budget_s=40.0)
    assert again == 0, told
    assert f"going on: {KEPT} of " in told
    assert 2 < found["prompts"] < 16
    run.step_s = STEP_S
    assert run(budget_s=40.0, check=True)[1].startswith(f"specroute: {found['prompts']} prompts of 2 domains")


def test_another_budget_is_another_calibration(run: Run) -> None:
    """Its prompts would be others."""
    run(interrupted=True, budget_s=40.0)
    code, told, _ = run(budget_s=80.0)
    assert code == 2
    assert "with other prompts, options or pools" in told


def test_pools_that_grow_or_shrink_change_nothing(run: Run) -> None:
    """What is asked at once is settled; that it is another share of the pool by now is said."""
    run(interrupted=True)
    run.facts = replace(FACTS, pools=(VANILLA, NGRAM._replace(replicas=3, capacity=24, least_asked=2)))
    code, told, found = run()
    assert code == 0, told
    assert "ngram: 3 replicas with 8 slots now, 1 replica with 8 slots when this began" in told
    assert f"going on: {KEPT} of " in told
    run.facts = FACTS
    asked = len(run.service.asked)
    assert run()[2]["domains"] == found["domains"]
    assert len(run.service.asked) == asked


def test_a_pool_that_is_away_is_waited_for(run: Run) -> None:
    """What it measured counts, what is left of it is asked when it is back; the others are asked meanwhile."""
    run(interrupted=True)
    run.facts = replace(FACTS, pools=(VANILLA,), away=(NGRAM,))
    code, told, found = run()
    assert code == 1
    assert "ngram: not available: run the same command when it is back" in told
    assert found["failed"] > 0
    asked = [headers["x-specroute-profile"] for _, headers in run.service.asked]
    run.facts = FACTS
    code, told, found = run()
    assert (code, found["failed"]) == (0, 0), told
    assert {headers["x-specroute-profile"] for _, headers in run.service.asked[len(asked) :]} == {"ngram"}
    assert {side["elsewhere"] for one in found["domains"] for side in one["sides"]} == {0}


def test_a_pool_that_comes_back_has_no_part_in_what_began_without_it(run: Run) -> None:
    """It is said, also how to measure it."""
    late = PoolFacts("draft", "draft_model", 4, 1, 8, is_model=True)
    run.facts = replace(FACTS, away=(late,))
    assert "draft: not available now: it has no part in this" in run(interrupted=True)[1]
    run.facts = replace(FACTS, pools=(*FACTS.pools, late))
    code, told, found = run()
    assert code == 0, told
    assert "draft: not available when this began: it has no part in it; --fresh adds it" in told
    assert {one["profile"] for one in found["domains"]} == {"ngram"}


def test_a_pool_that_drafts_otherwise_is_another_calibration(run: Run) -> None:
    """What was measured of it is no longer true."""
    run(interrupted=True)
    run.facts = replace(FACTS, pools=(VANILLA, NGRAM._replace(max_k=6)))
    code, told, _ = run()
    assert code == 2
    assert "say --fresh to begin anew" in told


def test_a_damaged_journal_is_bad_input(run: Run, tmp_path: Path) -> None:
    """In one line, with the number of its line; nothing is asked."""
    run(interrupted=True)
    journal, asked = tmp_path / "out" / "journal.jsonl", len(run.service.asked)
    journal.write_bytes(journal.read_bytes() + b"\xff\n")
    code, told, _ = run()
    assert (code, told.count("\n")) == (2, 1)
    assert f"journal.jsonl:{KEPT + 2}: not UTF-8: delete this line" in told
    assert len(run.service.asked) == asked


def test_a_disk_that_fills_up_stops_it_and_loses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line may be written; the blocks before it are kept, and the same command goes on behind them."""
    add, kept = Journal.add, list[int]()

    def full(self: Journal, block: int, answers: Any) -> None:
        if len(kept) == KEPT:
            with self._path.open("ab") as file:
                file.write(b'{"block": 7, "answ')
            raise self._unwritable(OSError(errno.ENOSPC, "No space left on device"))
        kept.append(block)
        add(self, block, answers)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", full)
        code, told, _ = run()
    assert code == 1
    assert f"No space left on device; {KEPT} finished measurements are kept" in told
    code, told, found = run()
    assert (code, found["failed"]) == (0, 0)
    assert f"going on: {KEPT} of " in told

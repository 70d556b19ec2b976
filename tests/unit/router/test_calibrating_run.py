"""A calibration from options to files: what is written, how it goes on, and what it says when it cannot."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from calibrated_service import COST, FACTS, POLICY, PretendedService, options

from policies.cost import parse_acceptance, parse_calibration
from policies.loading import parse_policy
from router.calibrating import command as module
from router.calibrating.asking import Asker
from router.calibrating.options import OptionsError, numbers, whole_numbers
from router.calibrating.service import Facts, ServiceError

pytestmark = pytest.mark.unit

FILES = {"report.md", "report.html", "results.json", "calibration.json", "policy.yaml", "journal.jsonl"}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> PretendedService:
    """Code gets good drafts, creative bad ones."""
    pretended = PretendedService(code=0.9, creative=0.1)

    def asker(url: str, found: Facts, **options: Any) -> Asker:
        return Asker(url, found, **options, transport=pretended.transport)

    monkeypatch.setattr(module, "Asker", asker)
    monkeypatch.setattr(module, "facts", lambda _url, _key: FACTS)
    monkeypatch.setattr(module, "cost", lambda _url: COST)
    return pretended


def test_a_calibration_writes_a_report_a_file_and_a_policy(
    tmp_path: Path, service: PretendedService, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them usable, and saying the same."""
    assert module.run_calibration(options(tmp_path)) == 0
    out = tmp_path / "out"
    assert {file.name for file in out.iterdir()} >= FILES
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((out / "results.json").read_text())
    verdicts = {one["domain"]: (one["zone"], one["verdict"]) for one in document["domains"]}
    assert verdicts == {"code": ("good", "pays"), "creative": ("poor", "loses")}
    expected = {one["task"]: one["route"] for one in document["policy"]["expected"]}
    assert expected == {"code": "speculative", "creative": "vanilla"}
    assert any("below 0.5" in line for line in document["warnings"])
    assert any("temperature 0 instead of 1" in line for line in document["notes"])
    policy = parse_policy((out / "policy.yaml").read_text(), "policy.yaml")
    assert set(policy.spec.tasks) == {"code", "creative"}
    file = (out / "calibration.json").read_text()
    assert set(parse_calibration(file, "file")) == {"vanilla", "ngram"}
    assert {key.task for key in parse_acceptance(file, "file")} == {"code", "creative"}
    points = json.loads(file)["profiles"]["ngram"]["break_even"]
    assert {one["context"] for one in points if one["measured"]} == {document["context_tokens"]}
    sides = [side for one in document["domains"] for side in one["sides"] if side["side"]["k"]]
    assert {side["side"]["temperature"] for side in sides if side["tpot_ratio"]} == {0.0, 1.0}
    assert all(side["tpot_ms"]["low"] <= side["tpot_ms"]["value"] for side in sides)
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    assert page.count("<svg") == 4
    assert "http" not in page.split("<svg")[0].replace("http://service", "")
    assert text.count(".svg)") == 4
    for said in ("creative on ngram: alpha", "Break-even on ngram", "The recommended policy"):
        assert said in page
        assert said in text


def test_the_service_learns_from_all_answers_to_a_prompt_as_from_one(
    tmp_path: Path, service: PretendedService
) -> None:
    """Of each bucket of temperatures; as the file has it, or the service would be the surer of the two."""
    assert module.run_calibration(options(tmp_path, batches=(1, 2))) == 0
    votes: dict[tuple[str, bool], float] = defaultdict(float)
    answers: Counter[tuple[str, bool]] = Counter()
    for body, headers in service.asked:
        sampled = (body["messages"][-1]["content"], body["temperature"] > 0)
        votes[sampled] += float(headers["x-specroute-weight"])
        answers[sampled] += 1
    warmed_up = len(FACTS.pools)
    assert min(answers.values()) > 1
    assert sum(votes.values()) == pytest.approx(len(votes), abs=warmed_up * 0.5 + 0.01)
    assert sorted(votes.values())[:-warmed_up] == pytest.approx([1.0] * (len(votes) - warmed_up), rel=0.01)


def test_an_interrupted_calibration_goes_on_where_it_was(
    tmp_path: Path,
    service: PretendedService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C keeps what is measured, and the same command asks only for the rest."""
    whole = module.Runner._measure
    measured: list[int] = []

    async def interrupted(self: Any, number: int, block: Any) -> Any:
        if len(measured) == 5:
            raise KeyboardInterrupt
        measured.append(number)
        return await whole(self, number, block)

    with monkeypatch.context() as patched:
        patched.setattr(module.Runner, "_measure", interrupted)
        assert module.run_calibration(options(tmp_path)) == 1
    assert "stopped: 5 of " in capsys.readouterr().err
    asked = len(service.asked)
    assert module.run_calibration(options(tmp_path)) == 0
    told = capsys.readouterr()
    assert "going on: 5 of " in told.err
    document = json.loads(told.out)
    warmed_up = 2 * 2
    of_the_five = 5
    assert len(service.asked) - asked <= document["requests"] - of_the_five + warmed_up
    asked = len(service.asked)
    assert module.run_calibration(options(tmp_path)) == 0
    assert len(service.asked) == asked
    assert json.loads(capsys.readouterr().out)["domains"] == document["domains"]


def test_other_options_need_another_folder_or_a_fresh_start(
    tmp_path: Path, service: PretendedService, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was measured is not lost by mistake."""
    assert module.run_calibration(options(tmp_path)) == 0
    assert module.run_calibration(options(tmp_path, ks=(8,))) == 2
    assert "name another --output, or say --fresh" in capsys.readouterr().err
    assert module.run_calibration(options(tmp_path, ks=(8,), fresh=True)) == 0


def test_a_block_that_fails_is_told_and_asked_again_next_time(
    tmp_path: Path, service: PretendedService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1; the others count."""
    service.problems = [httpx.Response(500, json={"error": {"message": "broke"}})] * 6
    assert module.run_calibration(options(tmp_path)) == 1
    told = capsys.readouterr()
    assert "HTTP 500: broke" in told.err
    assert json.loads(told.out)["failed"] == 2  # the others met the pilot and the warm-up
    assert module.run_calibration(options(tmp_path)) == 0


def test_block_after_block_failing_ends_it(
    tmp_path: Path, service: PretendedService, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the last reason."""
    service.told = {"reason": "gain"}
    assert module.run_calibration(options(tmp_path)) == 1
    assert "5 requests in a row failed, the last one: " in capsys.readouterr().err
    assert len(service.asked) < 20


def test_a_prompt_that_the_service_refuses_does_not_end_it(
    tmp_path: Path, service: PretendedService, capsys: pytest.CaptureFixture[str]
) -> None:
    """All its sides are refused one after the other; they count as one failure, and it is named."""
    service.refused = "code 3"
    assert module.run_calibration(options(tmp_path, batches=(1,), ks=(1, 2, 4, 8))) == 1
    told = capsys.readouterr()
    assert "HTTP 400: too long" in told.err
    assert json.loads(told.out)["failed"] >= 6
    assert {file.name for file in (tmp_path / "out").iterdir()} >= FILES
    service.refused = None
    assert module.run_calibration(options(tmp_path, batches=(1,), ks=(1, 2, 4, 8))) == 0


def test_prompt_after_prompt_refused_ends_it(
    tmp_path: Path, service: PretendedService, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong key, for example."""
    service.refused = ""
    assert module.run_calibration(options(tmp_path)) == 1
    assert "5 requests in a row failed, the last one: " in capsys.readouterr().err


def test_the_budget_takes_fewer_prompts(
    tmp_path: Path, service: PretendedService, capsys: pytest.CaptureFixture[str]
) -> None:
    """And --check says how long it takes, and sends nothing."""
    for budget_s in (None, 60.0):
        assert module.run_calibration(options(tmp_path, check=True, budget_s=budget_s)) == 0
    whole, cut = capsys.readouterr().err.splitlines()
    assert "16 prompts of 2 domains" in whole
    assert int(cut.split(": ")[1].split()[0]) < 16
    assert not service.asked


def test_a_budget_goes_by_what_a_first_prompt_takes(
    tmp_path: Path, service: PretendedService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which may be longer than the service expects; a plan that has begun is not timed anew."""
    asked = []
    for name, took_s in (("quick", 0.2), ("slow", 0.8)):
        service.told = {"measured_s": took_s, "ttft_s": took_s / 10}
        (folder := tmp_path / name).mkdir()
        assert module.run_calibration(options(folder, budget_s=60.0)) == 0
        told = capsys.readouterr().err
        assert "a first prompt on every pool" in told
        (plan,) = (line for line in told.splitlines() if "prompts of 2 domains" in line)
        asked.append(int(plan.split(": ")[1].split()[0]))
    quick, slow = asked
    assert 2 <= slow < quick
    assert [float(head["x-specroute-weight"]) for _, head in service.asked[:4]] == [0.001] * 4
    service.asked.clear()
    assert module.run_calibration(options(folder, budget_s=60.0)) == 0
    assert "a first prompt" not in capsys.readouterr().err
    assert not service.asked


def test_a_budget_that_not_even_one_prompt_of_each_domain_keeps_is_told(
    tmp_path: Path, service: PretendedService, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what would help; it is not exceeded in silence."""
    assert module.run_calibration(options(tmp_path, check=True, budget_s=6.0)) == 0
    plan, told = capsys.readouterr().err.splitlines()
    assert "2 prompts of 2 domains" in plan
    assert "--budget: one prompt of each domain takes about" in told
    assert "minutes, not 0.1: fewer values of --k, --batch, --temperature" in told


@pytest.mark.parametrize(
    ("facts", "code", "told"),
    [
        (ServiceError("http://service: refused: is the service running?"), 1, "is the service running?"),
        (replace(FACTS, policy=POLICY.replace("true", "false")), 2, "set spec.allow_overrides: true"),
        (replace(FACTS, pools=FACTS.pools[:1]), 1, "none of its pools drafts"),
    ],
)
def test_a_service_that_cannot_be_calibrated_is_told_in_one_line(
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    service: PretendedService,
    facts: Facts | ServiceError,
    code: int,
    told: str,
) -> None:
    """Before anything is sent."""

    def found(_url: str, _key: str | None) -> Facts:
        if isinstance(facts, ServiceError):
            raise facts
        return facts

    monkeypatch.setattr(module, "facts", found)
    assert module.run_calibration(options(tmp_path)) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not service.asked


def test_bad_prompts_are_bad_input(
    tmp_path: Path, service: PretendedService, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each of them."""
    (tmp_path / "prompts.jsonl").write_text("{\n{}\n")
    assert module.run_calibration(options(tmp_path)) == 2
    assert [
        ":1: not JSON" in line or ":2: no domain" in line for line in capsys.readouterr().err.splitlines()
    ]
    assert not service.asked


def test_no_space_for_the_measurements_is_told_before_they_are_made(
    tmp_path: Path,
    service: PretendedService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With how much is needed."""
    usage = module.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    assert module.run_calibration(options(tmp_path)) == 1
    assert "0 MiB free, about" in capsys.readouterr().err.splitlines()[-1]
    assert not service.asked


@pytest.mark.parametrize("text", ["", "a", "0", "1,99", "1.5"])
def test_lists_of_k_are_whole_numbers(text: str) -> None:
    """Named, with an example."""
    with pytest.raises(OptionsError, match=r"^--k: '.*': expected whole numbers from 1 to 32, like 2,4,8$"):
        whole_numbers("--k", text)


@pytest.mark.parametrize("text", ["", "hot", "-1", "0,3", "nan"])
def test_lists_of_temperatures_are_numbers(text: str) -> None:
    """Within what a sampler takes."""
    with pytest.raises(OptionsError, match=r"^--temperature: "):
        numbers("--temperature", text, least=0, most=2)
    assert numbers("--temperature", "0.7, 0,0.7", least=0, most=2) == (0.7, 0)


def test_step_times_that_vary_too_much_are_warned_of(
    tmp_path: Path,
    service: PretendedService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As are those that were not measured at all."""
    ngram = {**COST["profiles"]["ngram"], "relative_error": 0.9}
    vanilla = {**COST["profiles"]["vanilla"], "source": "seed"}
    told = {**COST, "profiles": {"ngram": ngram, "vanilla": vanilla}}
    monkeypatch.setattr(module, "cost", lambda _url: told)
    assert module.run_calibration(options(tmp_path)) == 0
    warnings = " ".join(json.loads(capsys.readouterr().out)["warnings"])
    assert "ngram: its steps take 90% more or less than expected" in warnings
    assert "vanilla: its step times were not measured" in warnings

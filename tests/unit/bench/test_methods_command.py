"""The methods bench on a service that pretends: what is asked, kept, and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.methods import command, pools
from bench.methods.arms import Arm, Method, deployment, parsed
from bench.methods.asking import Asker, Told
from bench.methods.journal import Journal
from bench.methods.prompts import Prompt
from bench.results import BenchError
from router.settings import parse_settings

pytestmark = pytest.mark.unit

PROMPTS = [Prompt("a", "qa", "alpha"), Prompt("b", "math", "beta")]
NGRAM = Method("ngram", None, (2,))
ARMS = [Arm("vanilla", 0), Arm("ngram", 2)]


def silent(_text: str) -> None:
    """Says nothing."""


class Service:
    """Answers requests as specroute does: drafts of two tokens are right, and halve the time."""

    def __init__(self, *, obeys: bool = True, decides: str = "ngram") -> None:
        self.asked: list[tuple[str, str | None]] = []
        self._obeys, self._decides = obeys, decides
        self.asker = Asker("http://x", max_tokens=8, transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"data": [{"id": "m"}]})
        body, headers = json.loads(request.content), request.headers
        profile = headers.get("X-Specroute-Profile") if self._obeys else "vanilla"
        reason = "override" if profile else "faster"
        profile = profile or self._decides
        k = int(headers.get("X-Specroute-K", 2)) if profile == "ngram" else 0
        self.asked.append((body["messages"][0]["content"], headers.get("X-Specroute-Profile")))
        tokens = [1, 2, 3, 4] if k else [1, 2, 3, 5]
        steps = {"per_step_drafted": [2], "per_step_accepted": [2]}
        plain = {"per_step_drafted": [0] * 3, "per_step_accepted": [0] * 3}
        details = {"profile": profile, "k": k, "reason": reason, "measured_s": 0.03 if k else 0.06}
        choice: dict[str, Any] = {"token_ids": tokens}
        if body.get("logprobs"):
            best = [{"logprob": -0.7}, {"logprob": -0.7 - 1e-6}]
            choice = {"logprobs": {"content": [{"top_logprobs": best}] * 4}}
        return httpx.Response(200, json={"choices": [choice], "specroute": details | (steps if k else plain)})


def test_every_prompt_is_asked_of_all_arms_and_kept(tmp_path: Path) -> None:
    """After one answer of each pool that counts nowhere; where answers part, plain decoding is asked why."""
    journal, service = Journal(tmp_path / "j.jsonl", {"k": [2]}), Service()
    command.measure(service.asker, PROMPTS, ARMS, journal, silent)
    assert [text for text, _ in service.asked] == ["alpha"] * 5 + ["beta"] * 3
    kept = Journal(tmp_path / "j.jsonl", {"k": [2]}).rows["b"]
    assert kept["family"] == "math"
    assert kept["answers"]["ngram k=2"]["tokens"] == 4
    assert kept["gaps"]["vanilla k=0"] is None
    assert kept["gaps"]["ngram k=2"] == pytest.approx(1e-6)


def test_an_answer_of_another_arm_counts_nowhere(tmp_path: Path) -> None:
    """Nothing can be compared on a service that decides itself."""
    journal = Journal(tmp_path / "j.jsonl", {})
    with pytest.raises(BenchError, match="ngram k=2 was asked, vanilla k=0 answered"):
        command.measure(Service(obeys=False).asker, PROMPTS, ARMS, journal, silent)


def test_a_journal_cut_short_goes_on_before_the_cut(tmp_path: Path) -> None:
    """And one of another run is refused."""
    file = tmp_path / "j.jsonl"
    command.measure(Service().asker, PROMPTS, ARMS, Journal(file, {"k": [2]}), silent)
    file.write_text(file.read_text("utf-8")[:-20], "utf-8")
    assert list(Journal(file, {"k": [2]}).rows) == ["a"]
    with pytest.raises(BenchError, match="of a run with other k"):
        Journal(file, {"k": [3]})


def test_a_full_disk_takes_nothing_that_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is replaced as a whole or stays as it is."""
    file = tmp_path / "j.jsonl"
    command.measure(Service().asker, PROMPTS, ARMS, Journal(file, {"k": [2]}), silent)
    before = file.read_text("utf-8")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(BenchError, match="No space left"):
            Journal(file, {"k": [2]})
    assert file.read_text("utf-8") == before


def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    *,
    service: Service,
    more: Sequence[str] = (),
) -> int:
    """The module's command on a service that pretends."""

    def with_service(_options: object, _methods: object, use: Callable[[Asker], None], **_: object) -> None:
        use(service.asker)

    monkeypatch.setattr(module, "with_service", with_service)
    given = ["ngram", "--out", str(tmp_path), "--k", "2", "--limit", "2", "--tasks", "qa", "math"]
    code: int = module.main([*given, *more])
    return code


def test_the_command_writes_figures_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Journal, JSON and Markdown are in the folder; the same command finds all done."""
    service = Service()
    assert run(tmp_path, monkeypatch, command, service=service) == 0
    document = json.loads((tmp_path / "methods.json").read_text("utf-8"))
    ngram = next(row for row in document["rows"] if row["arm"] == "ngram k=2" and row["family"] == "all")
    assert ngram["tpot_ratio"] == pytest.approx([0.5, 0.5, 0.5])
    assert ngram["rounding"] == 4
    assert "| all | ngram | 2 | 4 |" in (tmp_path / "methods.md").read_text("utf-8")
    asked = len(service.asked)
    assert run(tmp_path, monkeypatch, command, service=service) == 0
    assert len(service.asked) == asked


def test_a_stopped_run_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how to go on."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "with_service", interrupted)
    assert command.main(["ngram", "--out", str(tmp_path), "--limit", "1"]) == 1
    assert "the same command goes on where it stopped" in capsys.readouterr().err


@pytest.mark.parametrize("decides", ["ngram", "vanilla"])
def test_the_routers_choice_is_compared_with_the_better_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decides: str
) -> None:
    """1 where it is slower with confidence."""
    service = Service(decides=decides)
    code = run(tmp_path, monkeypatch, pools, service=service, more=["--warm-up", "3"])
    assert code == (decides == "vanilla")
    found = json.loads((tmp_path / "pools.json").read_text("utf-8"))
    (row, _) = found["rows"]
    assert (row["profile"], row["best"], row["share"]) == (decides, "ngram", 1.0)
    assert row["against_best"] == pytest.approx([1, 1, 1] if decides == "ngram" else [2, 2, 2])
    assert row["settled_against_best"] == row["against_best"]
    assert (found["overall"]["prompts"], found["overall"]["explored"]) == (4, 0)
    assert found["overall"]["against_best"] == pytest.approx([1, 1, 1] if decides == "ngram" else [2, 2, 2])
    assert [profile for _, profile in service.asked[:3]] == [None] * 3
    assert "| math | 2 |" in (tmp_path / "pools.md").read_text("utf-8")


def test_what_the_router_explored_is_told_apart() -> None:
    """One prompt of two, twice as slow: in the mean of all, and not in that of the settled ones."""

    def answer(profile: str, seconds: float, reason: str = "gain") -> dict[str, object]:
        return {"profile": profile, "k": 4, "reason": reason, "tokens": 11, "decode_s": seconds}

    plain, alone = answer("vanilla", 2.0), answer("ngram", 1.0)
    sides = [{"router": answer("ngram", 1.0)}, {"router": answer("vanilla", 2.0, "exploration")}]
    rows = [{"family": "math", "answers": {**side, "vanilla": plain, "ngram": alone}} for side in sides]
    (row,), total = pools.families(rows), pools.overall(rows)
    for found in (row, total):
        assert found["explored"] == 1
        assert found["against_best"][0] > 1.2
        assert found["settled_against_best"] is None or found["settled_against_best"][0] == pytest.approx(1)
    assert "| all | 2 | 1 |" in pools.markdown([row], total)


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Path]:
    """A folder that looks like a drafter's."""
    (tmp_path / "config.json").write_text("{}", "utf-8")
    return tmp_path


def test_a_drafter_that_is_a_model_is_asked_without_drafts_too(head: Path) -> None:
    """It costs something even then; a copying one does not."""
    ngram, eagle = parsed(["ngram", f"eagle3={head}"], [1, 3])
    assert [arm.k for arm in ngram.arms] == [1, 3]
    assert [arm.k for arm in eagle.arms] == [0, 1, 3]


def test_a_method_may_have_k_of_its_own(head: Path) -> None:
    """Others keep those of all; the drafter that ships needs no folder."""
    ngram, eagle, medusa = parsed(["ngram@4", "eagle3@4,2=embedded", f"medusa={head}"], [1, 3])
    assert [arm.k for arm in ngram.arms] == [4]
    assert [arm.k for arm in eagle.arms] == [2, 4]
    assert [arm.k for arm in medusa.arms] == [0, 1, 3]
    assert (eagle.profile()["draft_model"], eagle.profile()["k"]) == ("embedded", 4)


def test_engines_of_another_data_type_are_pools_of_their_own() -> None:
    """Beside the plain one, which all are compared with."""
    methods = parsed(["plain/bfloat16", "ngram@4", "ngram/bfloat16@4", "eagle3/bfloat16@2=embedded"], [1])
    assert [arm.name for method in methods for arm in method.arms] == [
        "plain-bfloat16 k=0",
        "ngram k=4",
        "ngram-bfloat16 k=4",
        "eagle3-bfloat16 k=2",
    ]
    args, _ = deployment(methods, core=1, spec={})
    found = parse_settings(args).profiles
    assert [(one.method, one.k, one.dtype) for one in found] == [
        ("none", 0, "auto"),
        ("none", 0, "bfloat16"),
        ("ngram", 4, "auto"),
        ("ngram", 4, "bfloat16"),
        ("eagle3", 2, "bfloat16"),
    ]


def test_the_deployment_is_one_that_can_be_served(head: Path) -> None:
    """All engines on one core, each method with its weights."""
    args, policy = deployment(parsed(["ngram", f"eagle3={head}"], [1, 3]), core=1, spec={})
    found = parse_settings(args)
    assert [profile.name for profile in found.profiles] == ["vanilla", "ngram", "eagle3"]
    assert {profile.cpu_cores for profile in found.profiles} == {(1,)}
    assert found.profiles[2].draft_model == str(head)
    assert policy["spec"]["allow_overrides"] is True


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["lookahead"], "no method: choose among ngram, suffix, eagle3"),
        (["ngram", "ngram"], "named twice"),
        (["eagle3"], "write eagle3=FOLDER"),
        (["ngram=/x"], "write ngram alone"),
        (["eagle3=/nowhere"], "no drafter's folder"),
        (["plain"], "no method: choose among ngram"),
        (["plain/bfloat16@4"], "a plain engine drafts nothing"),
        (["ngram/int3"], "'int3' is no data type: choose among float32, bfloat16"),
        (["ngram/bfloat16@4", "ngram/bfloat16"], "named twice"),
        (["ngram@"], "'' is no k"),
        (["ngram@0"], "'0' is no k"),
        (["ngram@2,x"], "'2,x' is no k"),
    ],
)
def test_methods_that_cannot_be_run_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], problem: str
) -> None:
    """On one line, with what to write instead."""
    assert command.main([*words, "--out", str(tmp_path)]) == 2
    assert problem in capsys.readouterr().err


def test_told_knows_its_time_per_token() -> None:
    """None of an answer of one token."""
    one = Told("vanilla", 0, "override", (1, 2, 3), 0.5, (0, 0), (0, 0))
    assert one.tpot_s == 0.25
    assert Told("vanilla", 0, "override", (1,), 0.0, (), ()).tpot_s is None

"""`specroute policy`: check, explain and compare policies."""

import datetime as dt
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fakes import policy_text
from typer.testing import CliRunner, Result

from router.admin_client import AdminClient, Answer
from router.cli import app

pytestmark = pytest.mark.unit


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(result: Result, code: int = 2) -> str:
    """The one line of an error."""
    assert result.exit_code == code, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(name: str, **spec: Any) -> Path:
        file = tmp_path / f"{name}.yaml"
        file.write_text(policy_text(name, **spec))
        return file

    return written


def test_validate(tmp_path: Path) -> None:
    """A good file is called valid, the built-in policy too."""
    file = tmp_path / "p.yaml"
    file.write_text(policy_text("mine"))
    assert run("policy", "validate", file).stdout.strip() == "mine: valid"
    assert json.loads(run("policy", "validate", "--json", file).stdout) == {
        "valid": True,
        "name": "mine",
        "problems": [],
        "warnings": [],
    }
    assert run("policy", "validate").exit_code == 0


def test_validate_a_broken_file(tmp_path: Path) -> None:
    """Exit code 2, every problem with its place, as text and as JSON."""
    file = tmp_path / "p.yaml"
    file.write_text(policy_text("mine", mood="x", mode="y"))
    result = run("policy", "validate", file)
    assert result.exit_code == 2
    assert all(line.startswith(f"{file}:1:") for line in result.stderr.splitlines())
    result = run("policy", "validate", "--json", file)
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert answer["valid"] is False
    assert {"line", "column", "path", "message", "hint"} == answer["problems"][0].keys()
    assert "No such file" in refused(run("policy", "validate", tmp_path / "none"))


def test_explain(tmp_path: Path) -> None:
    """Every setting with the layer that set it."""
    file = tmp_path / "p.yaml"
    file.write_text(policy_text("mine", tenants={"acme": {"k": {"max": 3, "default": 2}}}))
    result = run("policy", "explain", file, "--tenant", "acme", "--json")
    rows = {row["path"]: row for row in json.loads(result.stdout)}
    assert (rows["k.max"]["value"], rows["k.max"]["layer"]) == (3, "tenants.acme")
    assert rows["k.min"]["layer"] == "defaults"
    assert rows.keys() >= {"objective.min_speedup", "objective.class", "affinity.conversation"}
    text = run("policy", "explain", file, "--tenant", "acme")
    assert text.exit_code == 0
    assert "tenants.acme" in text.stdout


def test_explain_at_a_time(tmp_path: Path) -> None:
    """The schedules that apply then, in the machine's zone where none is said, and today without a date."""
    file = tmp_path / "p.yaml"
    when = {"from": "09:00", "to": "18:00", "tz": "Europe/Berlin"}
    file.write_text(policy_text("mine", schedules=[{"name": "peak", "when": when, "k": {"max": 3}}]))

    def layer(at: str) -> str:
        result = run("policy", "explain", file, "--at", at, "--json")
        assert result.exit_code == 0
        return next(row["layer"] for row in json.loads(result.stdout) if row["path"] == "k.max")

    assert layer("2026-11-23T09:00+01:00") == "schedules.peak"
    assert layer("2026-11-23T08:59+01:00") == layer("2026-11-23T17:00Z") == "defaults"
    text = run("policy", "explain", file, "--at", "2026-11-23T10:00+01:00").stdout
    assert "clamped: 4 is above the k.max of schedules.peak" in text
    assert text.splitlines()[-1] == "schedules that apply at 2026-11-23T10:00+01:00: peak"
    now = run("policy", "explain", file).stdout.splitlines()[-1]
    assert now.startswith("schedules that apply at ")
    today = run("policy", "explain", file, "--at", "12:34").stdout
    assert f"{dt.datetime.now().astimezone():%Y-%m-}" in today
    assert "T12:34" in today


@pytest.mark.parametrize("at", ["noon", "", "25:00", "2026-13-01", "9999-12-31T23:59-12:00", "0001-01-01"])
def test_explain_at_no_time(at: str) -> None:
    """One line that says how to write it."""
    assert "write it like" in refused(run("policy", "explain", "--at", at))


def test_explain_an_unknown_task() -> None:
    """One line with the known ones."""
    assert "code" in refused(run("policy", "explain", "--task", "nonsense"))


def test_schema() -> None:
    """JSON Schema for editors."""
    assert json.loads(run("policy", "schema").stdout)["properties"].keys() >= {"spec", "metadata"}


def test_validate_warns(write: Any) -> None:
    """Of what is probably not meant, with its place; only --strict makes that the exit code's business."""
    file = write("mine", mode="threshold", threshold={"enable_above": 0.99})
    result = run("policy", "validate", file)
    assert (result.exit_code, result.stdout.strip()) == (0, "mine: valid, 1 warning")
    assert result.stderr.startswith(f"warning: {file}:1:")
    assert "nobody can meet 0.99" in result.stderr
    assert run("policy", "validate", file, "--strict").exit_code == 1
    answer = json.loads(run("policy", "validate", file, "--json").stdout)
    assert answer["valid"] is True
    (warning,) = answer["warnings"]
    assert warning.keys() == {"line", "column", "path", "message", "hint"}
    assert run("policy", "validate", "--strict").exit_code == 0


def test_validate_counts_warnings(write: Any) -> None:
    """There is an end to them, too."""

    def counted(number: int) -> str:
        return run(
            "policy", "validate", write("mine", segments={f"s{n}": {} for n in range(number)})
        ).stdout.strip()

    assert counted(2) == "mine: valid, 2 warnings"
    assert counted(201) == "mine: valid, more than 200 warnings"


def test_validate_knows_the_keys(write: Any, tmp_path: Path) -> None:
    """Tenants without a key are warned of; a keys file that cannot be read is bad input."""
    file = write("mine", tenants={"acme": {}, "globex": {}})
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"{sha256(b'secret').hexdigest()}: acme\n")
    result = run("policy", "validate", file, "--keys", keys)
    assert "spec.tenants.globex: no API key belongs to this tenant" in result.stderr
    assert "acme" not in result.stderr
    keys.write_text("acme: secret\n")
    assert str(keys) in refused(run("policy", "validate", file, "--keys", keys))
    assert "No such file" in refused(run("policy", "validate", file, "--keys", tmp_path / "none"))


def test_explain_with_preferences(write: Any, tmp_path: Path) -> None:
    """What the tenant set for itself, and its segment."""
    file = write(
        "mine",
        mode="threshold",
        segments={"premium": {"self_service": {"threshold": {"max": 0.8}}}},
        tenants={"acme": {"segment": "premium"}},
    )
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"threshold": {"enable_above": 0.9}}))
    text = run("policy", "explain", file, "--tenant", "acme", "--preferences", own)
    assert "preferences (clamped: the tenant's own 0.9 is beyond 0 to 0.8)" in text.stdout
    assert "segment of acme: premium" in text.stdout
    own.write_text('{"threshold": {"enable": 1}}')
    assert "did you mean 'enable_above'?" in refused(run("policy", "explain", file, "--preferences", own))
    own.write_text("{")
    assert str(own) in refused(run("policy", "explain", file, "--preferences", own))


def test_diff(write: Any) -> None:
    """For whom what changes; nothing is exit code 0, something 1."""
    old = write("old", k={"max": 8}, tenants={"acme": {"k": {"max": 6}}})
    new = write("new", k={"max": 5}, tenants={"acme": {"k": {"max": 6}}})
    result = run("policy", "diff", old, new)
    assert result.exit_code == 1
    assert [" ".join(line.split()) for line in result.stdout.splitlines()] == [
        "everyone",
        "metadata.name old → new",
        "k.max 8 → 5 except tenant acme",
    ]
    changes = json.loads(run("policy", "diff", old, new, "--json").stdout)["changes"]
    assert changes[1] == {
        "segment": None,
        "tenants": [],
        "task": None,
        "schedules": None,
        "path": "k.max",
        "before": 8,
        "after": 5,
        "exceptions": [{"segment": None, "tenants": ["acme"], "task": None, "schedules": None}],
    }
    same = run("policy", "diff", old, old)
    assert (same.exit_code, same.stdout.strip()) == (0, "nothing changes for anyone")


@pytest.mark.parametrize(
    ("before", "after", "heading"),
    [
        ({}, {"peak": 5}, "everyone, while peak newly applies"),
        ({"peak": 5}, {}, "everyone, while peak no longer applies"),
        ({"peak": 5}, {"peak": 6}, "everyone, while peak applies"),
        ({"peak": 5}, {"rush": 6}, "everyone, while rush applies instead of peak"),
        ({"peak": 5}, {"peak": 5, "rush": 6}, "everyone, while peak applies and rush newly applies"),
    ],
)
def test_diff_of_hours(write: Any, before: dict[str, int], after: dict[str, int], heading: str) -> None:
    """In words."""
    when = {"from": "09:00", "to": "17:00"}
    old, new = (
        write(name, schedules=[{"name": each, "when": when, "k": {"max": k}} for each, k in named.items()])
        for name, named in (("old", before), ("new", after))
    )
    assert heading in run("policy", "diff", old, new).stdout.splitlines()


def test_diff_names_some_of_many_tenants(write: Any) -> None:
    """JSON names them all."""
    names = [f"t{number}" for number in range(100)]
    old, new = (write(f"k{k}", tenants={name: {"k": {"max": k}} for name in names}) for k in (5, 6))
    heading = run("policy", "diff", old, new).stdout.splitlines()[-2]
    assert heading.startswith("tenants t0, t1, ")
    assert heading.endswith("t19 and 80 more")
    changes = json.loads(run("policy", "diff", old, new, "--json").stdout)["changes"]
    assert changes[-1]["tenants"] == names


def test_diff_of_a_broken_policy(write: Any, tmp_path: Path) -> None:
    """Exit code 2, and what is wrong with it."""
    assert "unknown key" in refused(run("policy", "diff", write("good"), write("bad", mood="x")))
    assert "No such file" in refused(run("policy", "diff", write("good"), tmp_path / "none"))


def row(task: str, **others: Any) -> dict[str, Any]:
    return {
        "profile": "draft",
        "task": task,
        "tenant": None,
        "temperature": None,
        "alpha": 0.7,
        "interval": [0.67, 0.73],
        "coverage": [1.0],
        "steps": 500.0,
        **others,
    }


def priced(base_ms: float, **others: float) -> dict[str, Any]:
    return {"step_time_ms": {"base": base_ms, **others}, "relative_error": 0.1, "steps": 4000}


ALPHA = {"entries": [row("code"), row("sql", alpha=None, interval=None, coverage=[])]}
COST = {
    "format": "specroute/calibration/v1",
    "profiles": {"vanilla": priced(28), "draft": priced(28, wide=4, per_asked=4)},
}


class TestSuggest:
    @pytest.fixture
    def measured(self, tmp_path: Path) -> list[object]:
        alpha, cost = tmp_path / "alpha.json", tmp_path / "cost.json"
        alpha.write_text(json.dumps(ALPHA))
        cost.write_text(json.dumps(COST))
        return ["--alpha", alpha, "--cost", cost]

    def test_a_patch_that_applies(self, measured: list[object], tmp_path: Path) -> None:
        """It keeps comments, and once it is applied nothing more is suggested."""
        file = tmp_path / "mine.yaml"
        head = "apiVersion: specroute/v1\nkind: RoutingPolicy\nmetadata: {name: mine}\n"
        file.write_text(f"{head}spec:\n  mode: threshold  # simple\n  tasks: {{}}  # none yet\n")
        patch = run("policy", "suggest", file, *measured, "--patch")
        assert patch.exit_code == 0
        changed = [line for line in patch.stdout.splitlines() if line[0] in "+-"]
        assert changed == [
            f"--- {file}",
            f"+++ {file}",
            "-  tasks: {}  # none yet",
            "+  tasks: {code: {threshold: {enable_above: 0.47, disable_below: 0.38}}}  # none yet",
        ]
        file.write_text(file.read_text().replace(changed[2][1:], changed[3][1:]))
        again = run("policy", "suggest", file, *measured)
        assert (again.exit_code, "in place" in again.stdout, "+++" in again.stdout) == (0, True, False)

    def test_the_evidence(self, measured: list[object], write: Any) -> None:
        """As a table and as JSON; bands in mode adaptive are said to wait."""
        file = write("mine")
        text = run("policy", "suggest", file, *measured)
        assert text.exit_code == 0
        assert all(
            words in text.stdout
            for words in (
                "0.67 to 0.73",
                "28.0 / 48.0 ms, k 4",
                "speculation pays",
                "no drafts were verified yet",
            )
        )
        assert "bands take effect where the mode is threshold" in text.stderr
        answer = json.loads(run("policy", "suggest", file, *measured, "--json").stdout)
        assert [made["status"] for made in answer["suggestions"]] == ["suggested", "too little evidence"]
        assert "+++" in answer["patch"]

    def test_too_little_evidence_for_any(self, measured: list[object], tmp_path: Path) -> None:
        """Exit code 1."""
        (tmp_path / "alpha.json").write_text('{"entries": []}')
        assert "send more requests first" in refused(run("policy", "suggest", *measured), 1)

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("alpha.json", "{", "not JSON"),
            ("alpha.json", "{}", "no answer of GET /admin/v1/alpha"),
            ("cost.json", "{}", "format"),
        ],
    )
    def test_files_that_are_no_answers(
        self, measured: list[object], tmp_path: Path, name: str, content: str, words: str
    ) -> None:
        """One line with the file's name."""
        (tmp_path / name).write_text(content)
        line = refused(run("policy", "suggest", *measured))
        assert words in line
        assert name in line

    def test_a_running_service(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Is asked for its policy, its acceptance and its step times; its refusal is told."""
        asked = {
            "/admin/v1/policy": {"text": policy_text("there")},
            "/admin/v1/alpha": ALPHA,
            "/admin/v1/cost": COST,
        }
        monkeypatch.setattr(
            AdminClient,
            "call",
            lambda _self, _method, path: Answer(200 if path in asked else 404, "", asked.get(path, {})),
        )
        assert "enable_above" in run("policy", "suggest", "--patch").stdout
        del asked["/admin/v1/cost"]
        assert "too old for this command" in refused(run("policy", "suggest"), 1)
        monkeypatch.undo()
        assert "is the service running?" in refused(
            run("policy", "suggest", "--url", "http://127.0.0.1:1"), 1
        )

    def test_either_files_or_a_service(self, measured: list[object]) -> None:
        """Both files, and no URL beside them."""
        assert "go together" in refused(run("policy", "suggest", *measured[:2]))
        assert "answer already" in refused(run("policy", "suggest", *measured, "--url", "http://x"))
        assert "no http" in refused(run("policy", "suggest", "--url", "ftp://x"))

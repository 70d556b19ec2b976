"""From prompts to a drafter's folder, on a model of random weights; and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from drafters import distilling
from drafters.distilling import Settings, distil, record_only
from drafters.errors import DraftError
from drafters.export import load_drafter
from drafters.learning import LearnSettings
from drafters.recording import AskSettings
from drafters.training import SizeSettings
from router.cli import app
from tests.unit.drafters.tiny_target import tiny_shape, write_target

pytestmark = pytest.mark.unit

SETTINGS = Settings(
    ask=AskSettings(tokens=300, prompt_tokens=48, answer_tokens=12, slots=4),
    size=SizeSettings(draft_vocabulary=64, intermediate=40),
    learn=LearnSettings(epochs=1, batch_tokens=100, steps=2, measure_steps=2, checkpoint_steps=2),
)


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One prompt a template."""
    monkeypatch.setattr(distilling, "_PER_TEMPLATE", 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's folder."""
    return write_target(tmp_path_factory.mktemp("models") / "tiny-llama")


def test_a_drafter_comes_out_and_is_not_made_twice(tmp_path: Path, model: Path) -> None:
    """Folder, report and licence note; a second run finds everything done."""
    said: list[str] = []
    made = distil(tmp_path / "run", model, SETTINGS, say=said.append)
    assert made.folder == tmp_path / "run" / "drafter"
    load_drafter(made.folder, tiny_shape())
    report = json.loads((made.folder / "report.json").read_text("utf-8"))
    assert report["target"] == "tiny-llama"
    assert report["held_out"]["all"]["steps"] > 0
    notes = (made.folder / "README.md").read_text("utf-8")
    assert "licence" in notes
    assert f"| all | {report['held_out']['all']['alpha_by_position'][0]:.2f} |" in notes
    again: list[str] = []
    second = distil(tmp_path / "run", model, SETTINGS, say=again.append)
    assert second.report == made.report
    assert not [line for line in again if line.startswith("recording:")]
    assert "going on from step" in again[1]


def test_an_operators_prompts_are_answered_first(tmp_path: Path, model: Path) -> None:
    """Before the project's; the recording says what was asked."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        "\n".join(json.dumps({"prompt": f"mine {n}", "task": "mine"}) for n in range(4)), "utf-8"
    )
    settings = Settings(ask=AskSettings(40, 48, 8, 4), prompts=prompts)
    found = record_only(tmp_path / "run", model, settings, say=lambda _: None)
    tasks = [entry.request.task for shard in found.shards for entry in shard.entries]
    assert tasks.count("mine") == 4


def test_two_runs_do_not_share_a_folder(tmp_path: Path, model: Path) -> None:
    """The second says so at once."""
    with FileLock(tmp_path / ".lock"), pytest.raises(DraftError, match="another run is at work there"):
        distil(tmp_path, model, SETTINGS, say=lambda _: None)


def test_answers_longer_than_the_model_reads_are_refused(tmp_path: Path, model: Path) -> None:
    """With both numbers."""
    with pytest.raises(DraftError, match=r"answers of 600 tokens: .* reads 512"):
        distil(tmp_path, model, Settings(ask=AskSettings(10, 400, 200, 1)), say=lambda _: None)


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    """A base model does not answer."""
    folder = write_target(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"}', "utf-8"
    )
    with pytest.raises(DraftError, match="no chat template"):
        distil(tmp_path / "run", folder, SETTINGS, say=lambda _: None)


def test_the_command_records_and_says_what(tmp_path: Path, model: Path) -> None:
    """Progress on standard error, the result on standard output."""
    out = tmp_path / "run"
    given = ["draft", "train", "--out", str(out), "--model", str(model), "--record-only", "--json"]
    result = CliRunner().invoke(app, [*given, "--tokens", "30", "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["answer_tokens"] >= 30
    assert "recording: 0 of 30 answer tokens are there" in result.stderr


def test_the_command_stops_where_it_is_interrupted(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how to go on."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(distilling, "distil", interrupted)
    result = CliRunner().invoke(app, ["draft", "train", "--out", str(tmp_path), "--model", str(model)])
    assert result.exit_code == 1
    assert result.stderr == "specroute: stopped; the same command goes on where it stopped\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--model", "{folder}/none"], "config.json"),
        (["--model", "{model}", "--prompts", "{folder}/none.jsonl"], "none.jsonl"),
        (["--model", "{model}", "--prompts", "{folder}/bad.jsonl"], "bad.jsonl:2: not JSON"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    tmp_path: Path, model: Path, arguments: list[str], complaint: str
) -> None:
    """Which file, which line, what to do."""
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a"}\n{\n', "utf-8")
    given = [one.format(folder=tmp_path, model=model) for one in arguments]
    result = CliRunner().invoke(app, ["draft", "train", "--out", str(tmp_path / "run"), *given])
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert len(result.stderr.strip().split("\n")) == 1

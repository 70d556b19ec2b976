"""A refresh: what drifted is restored, a worse candidate is refused, and nothing that goes wrong reaches the pool."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from drafters import refreshing, shards
from drafters.errors import DraftError
from drafters.export import load_drafter
from drafters.reading import ReadSettings
from drafters.refreshing import LEARN, RefreshSettings, Verdict, refresh
from drafters.versions import roll_back
from replicas.drafting import PACKAGED
from router.cli import app
from tests.unit.drafters.tiny_target import CONFIG, tiny_shape
from tests.unit.drafters.tiny_traffic import (
    captured,
    contents,
    verdict,
    write_drafter,
    write_letters_target,
    write_rows,
)

pytestmark = pytest.mark.unit

QUICK = replace(
    LEARN,
    epochs=4,
    batch_tokens=200,
    rate=5e-3,
    head_rate=5e-3,
    warmup=3,
    measure_steps=10,
    checkpoint_steps=4,
)
SETTINGS = RefreshSettings(read=ReadSettings(100_000, 64, 32), learn=QUICK)
SPOILING = replace(
    SETTINGS, learn=replace(QUICK, epochs=1, rate=1.0, head_rate=1.0, warmup=0, measure_steps=1)
)


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target and what was captured of its answers."""
    folder = tmp_path_factory.mktemp("traffic")
    model = write_letters_target(folder / "model")
    write_rows(folder / "captured", captured(model, 84))
    return folder


@pytest.fixture
def drafter(tmp_path: Path, traffic: Path) -> Path:
    """A drafter that foresees nothing of what is said now."""
    return write_drafter(tmp_path / "drafter", traffic / "model")


def run(drafter: Path, traffic: Path, settings: RefreshSettings = SETTINGS, **changes: Any) -> Verdict:
    """A refresh beside the drafter."""
    given = {"model": traffic / "model", "captured": traffic / "captured", "say": lambda _: None} | changes
    return refresh(drafter.parent / "run", drafter, settings=settings, **given)


def test_drift_is_undone_a_worse_candidate_refused_and_the_last_one_kept(
    drafter: Path, traffic: Path
) -> None:
    """Promoted with an interval above zero; then one that training spoiled is not, with the figures."""
    before = contents(drafter)
    restored = run(drafter, traffic)
    assert restored.version == drafter.resolve()
    length = restored.comparison.length
    assert length.low is not None
    assert length.low > 0
    load_drafter(drafter, tiny_shape())
    promoted = contents(drafter)
    assert promoted != before
    assert "a service's requests, as it captured them" in (drafter / "README.md").read_text("utf-8")

    refused = run(drafter, traffic, SPOILING)
    assert refused.version is None
    assert refused.comparison.length.gain is not None
    assert refused.comparison.length.gain < 0
    assert contents(drafter) == promoted
    assert verdict(drafter.parent / "run")["promoted"] is False

    roll_back(drafter)
    assert contents(drafter) == before


def test_a_gain_below_the_margin_is_refused(drafter: Path, traffic: Path) -> None:
    """However sure it is."""
    found = run(drafter, traffic, replace(SETTINGS, margin=5.0))
    assert found.version is None
    assert found.comparison.is_better(0.0)
    assert not drafter.is_symlink()


def test_an_interrupted_refresh_goes_on_and_then_keeps_nothing(
    drafter: Path, traffic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the answers it began with, for its owner only; captured text is gone after the verdict."""
    usual = refreshing.judge

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(refreshing, "judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(drafter, traffic)
    folder = drafter.parent / "run"
    assert (folder / "captured-rows.jsonl").stat().st_mode & 0o777 == 0o600
    assert not drafter.is_symlink()
    monkeypatch.setattr(refreshing, "judge", usual)
    said: list[str] = []
    run(drafter, traffic, captured=traffic / "gone", say=said.append)
    assert said[0] == "refresh: going on with the 84 captured answers it began with"
    assert not [line for line in said if line.startswith("reading")]
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "verdict.json"]


def damaged(drafter: Path, _: Path) -> str:
    """Weights that end too early."""
    file = drafter / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return "not a whole drafter"


def lacking(drafter: Path, _: Path) -> str:
    """A tensor less than there should be."""
    found = load_file(drafter / "model.safetensors")
    del found["fc.weight"]
    save_file(found, drafter / "model.safetensors")
    return r"fc\.weight is missing"


def of_another_model(drafter: Path, _: Path) -> str:
    """A vocabulary of another size."""
    config = json.loads((drafter / "config.json").read_text("utf-8"))
    (drafter / "config.json").write_text(json.dumps(config | {"vocab_size": 300}), "utf-8")
    return "vocab_size is 300, this target needs 260: it was made for another model"


@pytest.mark.parametrize("spoil", [damaged, lacking, of_another_model])
def test_a_drafter_that_is_not_whole_is_not_refreshed(drafter: Path, traffic: Path, spoil: Any) -> None:
    """One line; what was there stays as it was."""
    said = spoil(drafter, traffic)
    before = contents(drafter)
    with pytest.raises(DraftError, match=said):
        run(drafter, traffic)
    assert contents(drafter) == before


def test_too_few_conversations_are_refused_and_the_next_run_looks_again(
    drafter: Path, traffic: Path, tmp_path: Path
) -> None:
    """It says how many there are; more may be captured by then."""
    few = (traffic / "captured" / "captured-here-0-000001.jsonl").read_text("utf-8").splitlines()[:20]
    (tmp_path / "few.jsonl").write_text("\n".join(few), "utf-8")
    with pytest.raises(DraftError, match=r"^\d captured conversations to measure on, 20 are"):
        run(drafter, traffic, captured=tmp_path / "few.jsonl")
    assert not (tmp_path / "run" / "captured-rows.jsonl").exists()


def test_a_disk_without_room_is_told_of_before_anything_is_read(
    drafter: Path, traffic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that fills up meanwhile too."""
    from drafters import refresh_run

    usage = refresh_run.shutil.disk_usage
    monkeypatch.setattr(refresh_run.shutil, "disk_usage", lambda _: usage("/")._replace(free=1000))
    with pytest.raises(DraftError, match=r"0\.0 GB are free: free some space, or lower --tokens"):
        run(drafter, traffic)
    monkeypatch.setattr(refresh_run.shutil, "disk_usage", usage)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "save_file", full)
    with pytest.raises(DraftError, match="free some space and run the command again"):
        run(drafter, traffic)
    assert not drafter.is_symlink()


def test_the_command_refuses_with_the_figures_and_code_1(drafter: Path, traffic: Path) -> None:
    """One line on standard output, or JSON; a rollback has nothing to go back to."""
    given = ["draft", "refresh", "--drafter", str(drafter), "--model", str(traffic / "model")]
    taken = ["--captured", str(traffic / "captured"), "--rate", "1e-7", "--epochs", "1", "--threads", "1"]
    result = CliRunner().invoke(app, [*given, *taken, "--margin", "3"])
    assert result.exit_code == 1, result.output
    assert "refused: not surely more than 3 tokens a step: 1.000 -> " in result.stdout
    assert "k = 4" in result.stdout
    back = CliRunner().invoke(app, [*given, "--rollback"])
    assert back.exit_code == 2
    assert "nothing was promoted there yet" in back.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--captured: name the folder"),
        (["--watch"], "--watch: needs the --url of a running service"),
        (["--roll"], "--roll: needs the --url of a running service"),
        (["--captured", "{folder}/none"], "cannot be read"),
        (["--captured", "{folder}", "--url", "ftp://there"], "no http:// or https:// URL"),
    ],
)
def test_bad_input_is_one_line_and_code_2_here_too(
    drafter: Path, traffic: Path, arguments: list[str], complaint: str
) -> None:
    """Which option, what to do."""
    given = [one.format(folder=drafter.parent) for one in arguments]
    command = ["draft", "refresh", "--drafter", str(drafter), "--model", str(traffic / "model")]
    result = CliRunner().invoke(app, [*command, *given])
    assert result.exit_code == 2, result.output
    assert complaint in result.stderr
    assert len(result.stderr.strip().split("\n")) == 1


def test_the_packaged_drafters_own_folder_is_left_alone(traffic: Path) -> None:
    """A promotion would make it a link within the installation."""
    before = sorted(PACKAGED.parent.iterdir())
    command = ["draft", "refresh", "--drafter", str(PACKAGED), "--captured", str(traffic / "captured")]
    for more in ([], ["--rollback"]):
        result = CliRunner().invoke(app, [*command, *more])
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("specroute: --drafter: the drafter that ships with specroute")
    assert sorted(PACKAGED.parent.iterdir()) == before


def test_a_target_with_other_sizes_is_told_apart(drafter: Path, tmp_path: Path, traffic: Path) -> None:
    """Before anything is learned for it."""
    other = write_letters_target(tmp_path / "wide")
    (other / "config.json").write_text(json.dumps(CONFIG | {"rms_norm_eps": 1e-3}), "utf-8")
    with pytest.raises(DraftError, match=r"rms_norm_eps is 1e-05, this target needs 0\.001"):
        run(drafter, traffic, model=other)

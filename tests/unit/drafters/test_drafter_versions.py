"""Versions of a drafter: switched at once, the last one kept, and nothing lost when it goes wrong."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from drafters import versions
from drafters.errors import DraftError
from drafters.versions import promote, roll_back, settled
from replicas.drafting import PACKAGED

pytestmark = pytest.mark.unit


def made(folder: Path, text: str) -> Path:
    """A folder that stands for a drafter."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(text, "utf-8")
    return folder


def text_of(drafter: Path) -> str:
    """What an engine would read there."""
    return (drafter / "config.json").read_text("utf-8")


def promoted(drafter: Path, text: str) -> Path:
    """A new version of it."""
    candidate = drafter.parent / f"candidate-{text}"
    return promote(drafter, made(candidate, text), name=text, check=lambda _: None)


def test_the_name_stands_for_the_new_version_and_the_old_one_is_kept(tmp_path: Path) -> None:
    """The plain folder becomes a link; what it held is the version before."""
    drafter = made(tmp_path / "drafter", "one")
    version = promoted(drafter, "two")
    assert version.name == "0002-two"
    assert drafter.is_symlink()
    assert settled(drafter) == version
    assert text_of(drafter) == "two"
    assert roll_back(drafter).name == "0001-first"
    assert text_of(drafter) == "one"
    assert text_of(roll_back(drafter)) == "two"


def test_only_the_version_in_use_and_the_one_before_stay(tmp_path: Path) -> None:
    """Numbers go on, so no two versions share a name."""
    drafter = made(tmp_path / "drafter", "one")
    for text in ("two", "three", "four"):
        promoted(drafter, text)
    kept = sorted(path.name for path in (tmp_path / "drafter.versions").glob("0*"))
    assert kept == ["0003-three", "0004-four"]


def test_a_version_that_is_not_whole_changes_nothing(tmp_path: Path) -> None:
    """It is looked at before anything is switched, and goes."""
    drafter = made(tmp_path / "drafter", "one")

    def refuse(folder: Path) -> None:
        raise DraftError(f"{folder.name}: not a whole drafter")

    with pytest.raises(DraftError, match="0002-bad: not a whole drafter"):
        promote(drafter, made(tmp_path / "candidate", "bad"), name="bad", check=refuse)
    assert text_of(drafter) == "one"
    assert not list((tmp_path / "drafter.versions").glob("0002-*"))


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says so; half a copy does not stay."""
    drafter = made(tmp_path / "drafter", "one")
    promoted(drafter, "two")

    def full(_: Path, to: Path) -> Any:
        to.mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(versions.shutil, "copytree", full)
    with pytest.raises(DraftError, match="free some space; the drafter is as it was"):
        promoted(drafter, "three")
    assert text_of(drafter) == "two"
    assert not (tmp_path / "drafter.versions" / ".partial").exists()


def test_an_interrupted_first_promotion_is_set_right(tmp_path: Path) -> None:
    """Between the folder that was and the link that comes there is a moment without either."""
    drafter = made(tmp_path / "drafter", "one")
    drafter.rename(tmp_path / ".drafter.replaced")
    assert text_of(settled(drafter)) == "one"
    shutil.copytree(drafter, tmp_path / ".drafter.replaced")
    promoted(drafter, "two")
    assert text_of(drafter) == "two"
    assert not (tmp_path / ".drafter.replaced").exists()


def test_folders_within_a_drafter_are_copied(tmp_path: Path) -> None:
    """Downloads leave a cache in it; a volume has `lost+found`."""
    drafter = made(tmp_path / "drafter", "one")
    made(drafter / ".cache", "downloaded")
    promoted(drafter, "two")
    assert text_of(drafter) == "two"
    assert text_of(roll_back(drafter) / ".cache") == "downloaded"


def test_links_stay_below_a_folder_that_is_reached_by_a_link(tmp_path: Path) -> None:
    """What is mounted elsewhere is what the link stands for, without what leads to it here."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    drafter = made(tmp_path / "data" / "drafter", "one")
    for text in ("two", "three"):
        promoted(drafter, text)
        assert str(drafter.readlink()).startswith("drafter.versions/")
    roll_back(drafter)
    assert str(drafter.readlink()).startswith("drafter.versions/")
    (tmp_path / "disk").rename(tmp_path / "mounted")
    assert text_of(tmp_path / "mounted" / "drafter") == "two"


def test_links_are_relative(tmp_path: Path) -> None:
    """The folder may be mounted elsewhere where engines run."""
    drafter = made(tmp_path / "here" / "drafter", "one")
    promoted(drafter, "two")
    (tmp_path / "here").rename(tmp_path / "there")
    assert text_of(tmp_path / "there" / "drafter") == "two"
    assert text_of(roll_back(tmp_path / "there" / "drafter")) == "one"


def test_there_is_nothing_to_go_back_to_before_a_promotion(tmp_path: Path) -> None:
    """Nor a drafter where there is none."""
    with pytest.raises(DraftError, match="nothing was promoted there yet"):
        roll_back(made(tmp_path / "drafter", "one"))
    with pytest.raises(DraftError, match="no such drafter"):
        settled(tmp_path / "none")


def test_the_packaged_drafter_is_to_be_copied_first(tmp_path: Path) -> None:
    """With the command for it, which works as it stands; a folder of that name is a folder."""
    with pytest.raises(DraftError, match="--drafter eagle3") as caught:
        settled(tmp_path / "embedded")
    command = re.search(r"cp -r .*? eagle3", str(caught.value))
    assert command is not None
    subprocess.run(  # noqa: S602 - what a reader would paste
        command[0],
        shell=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert sorted(path.name for path in (tmp_path / "eagle3").iterdir()) == sorted(
        path.name for path in PACKAGED.iterdir()
    )
    assert settled(made(tmp_path / "embedded", "own")) == tmp_path / "embedded"

"""Whether anybody on this machine works for a client, starts or rehearses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from replicas.quiet import Quiet

pytestmark = pytest.mark.unit


def calm_down(folder: Path) -> None:
    """As if the last request had been long ago."""
    os.utime(folder / "asked", (0, 0))


def test_a_request_anywhere_on_the_machine_disturbs_all(tmp_path: Path) -> None:
    """For a second and a half, whoever it was for; also where clocks jump back."""
    one, other = Quiet(tmp_path / "here"), Quiet(tmp_path / "here")
    assert not one.now()
    calm_down(tmp_path / "here")
    assert one.now()
    assert other.now()
    other.disturb()
    assert not one.now()
    os.utime(tmp_path / "here" / "asked", (2e9, 2e9))
    assert (tmp_path / "here").stat().st_mode & 0o777 == 0o700


def test_only_one_is_alone_and_nobody_while_others_start(tmp_path: Path) -> None:
    """Several may start at once."""
    one, other, third = (Quiet(tmp_path) for _ in range(3))
    with one.alone() as first, other.alone() as second:
        assert (first, second) == (True, False)
    with one.starting(), other.starting(), third.alone() as alone:
        assert not alone
    with third.alone() as alone:
        assert alone


def test_a_folder_that_cannot_be_is_never_quiet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing fails; nobody rehearses, and the log says why."""
    (tmp_path / "file").write_text("")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for folder in (tmp_path / "file", tmp_path / "link"):
        quiet = Quiet(folder)
        quiet.disturb()
        assert not quiet.now()
        with quiet.starting(), quiet.alone() as alone:
            assert not alone
    assert caplog.text.count("engines will not rehearse") == 2


def test_a_folder_that_was_cleaned_up_is_not_quiet(tmp_path: Path) -> None:
    """Whoever cleans up temporary files takes nothing down."""
    quiet = Quiet(tmp_path / "here")
    calm_down(tmp_path / "here")
    for file in ("asked", "lock"):
        (tmp_path / "here" / file).unlink()
    assert not quiet.now()
    with quiet.alone() as alone:
        assert not alone
    quiet.disturb()
    assert not quiet.now()

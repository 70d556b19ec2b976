"""The keys file, edited while it is watched."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from router import key_file
from router.key_file import KeyFile
from router.keys import KeysError, file_line

pytestmark = pytest.mark.unit

OLD, NEW = "sk-old", "sk-new"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "keys.yaml"
    file.write_text(file_line(OLD, "acme"))
    return file


def owners(keys: KeyFile) -> list[str | None]:
    """Whose the old and the new key are."""
    return [owner.tenant if (owner := keys.table.owner(key.encode())) else None for key in (OLD, NEW)]


def test_keys_are_rotated_without_a_restart(path: Path) -> None:
    """Both work while both stand there; the one that is taken out works no longer."""
    keys = KeyFile(path)
    assert owners(keys) == ["acme", None]
    path.write_text(f"{file_line(OLD, 'acme')}\n{file_line(NEW, 'acme')}\n")
    assert keys.reload()
    assert owners(keys) == ["acme", "acme"]
    path.write_text(file_line(NEW, "acme"))
    assert keys.reload()
    assert owners(keys) == [None, "acme"]
    assert not keys.reload()


@pytest.mark.parametrize("broken", ["", "sk-hunter2: acme", file_line(NEW, "acme")[:40], "x" * 2_000_000])
def test_a_broken_file_changes_nothing(path: Path, broken: str, caplog: pytest.LogCaptureFixture) -> None:
    """The keys stay, the problem is logged once and shown until the file is mended."""
    keys = KeyFile(path)
    path.write_text(broken)
    with caplog.at_level(logging.ERROR):
        assert not keys.reload()
        assert not keys.reload()
    assert owners(keys) == ["acme", None]
    assert len(caplog.records) == 1
    assert "hunter2" not in caplog.text
    assert str(path) in keys.state()["rejected"]
    path.write_text(file_line(NEW, "acme"))
    assert keys.reload()
    assert keys.state()["rejected"] is None


def test_a_file_that_goes_and_comes_back(path: Path) -> None:
    """While it is away the keys stay; back unchanged, the complaint is withdrawn."""
    keys = KeyFile(path)
    text = path.read_text()
    path.unlink()
    assert not keys.reload()
    assert "No such file" in keys.state()["rejected"]
    assert owners(keys) == ["acme", None]
    path.write_text(text)
    keys.reload()
    assert keys.state()["rejected"] is None


def test_a_mounted_secret_swaps_a_link(tmp_path: Path) -> None:
    """As Kubernetes does it, the new content may be as long and as old as the former."""
    for name, key in (("first", OLD), ("second", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.yaml").write_text(file_line(key, "acme"))
    data, mounted = tmp_path / "..data", tmp_path / "keys.yaml"
    data.symlink_to("first")
    mounted.symlink_to("..data/keys.yaml")
    keys = KeyFile(mounted)
    swap = tmp_path / "..new"
    swap.symlink_to("second")
    swap.replace(data)
    assert keys.reload()
    assert owners(keys) == [None, "acme"]


def test_no_start_without_keys(path: Path) -> None:
    """There is nothing to fall back on: neither everybody nor nobody would be right."""
    path.write_text("")
    with pytest.raises(KeysError):
        KeyFile(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        KeyFile(path)


async def test_watching(path: Path) -> None:
    """The watch reads the file again at every round, broken ones included."""
    keys = KeyFile(path)
    edits = iter([lambda: path.write_text(""), lambda: path.write_text(file_line(NEW, "acme"))])
    seen: list[list[str | None]] = []

    async def sleep(_: float) -> None:
        seen.append(owners(keys))
        edit = next(edits, None)
        if edit is None:
            raise asyncio.CancelledError
        edit()

    with suppress(asyncio.CancelledError):
        await keys.watch(1.0, sleep)
    assert seen == [["acme", None], ["acme", None], [None, "acme"]]


def test_the_state_shows_no_secret(path: Path) -> None:
    """Tenant, label and the beginning of the digest: enough to find a line."""
    (entry,) = KeyFile(path).state()["keys"]
    assert entry["tenant"] == "acme"
    assert len(entry["sha256"]) == 9


async def test_the_watch_survives_what_nobody_expected(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told without anything of the file, and the next round takes the keys that are there then."""
    keys = KeyFile(path)
    rounds = 0

    def edit() -> None:
        path.write_text(file_line(NEW, "acme"))

    def broken(text: bytes, _: str) -> NoReturn:
        raise RuntimeError(text.decode())

    async def sleep(_: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            edit()
            monkeypatch.setattr(key_file, "parse_keys", broken)
        elif rounds == 3:
            assert owners(keys) == ["acme", None]
            assert "unexpected RuntimeError" in keys.state()["rejected"]
            monkeypatch.undo()
        elif rounds == 4:
            raise asyncio.CancelledError

    with caplog.at_level(logging.INFO), suppress(asyncio.CancelledError):
        await keys.watch(1.0, sleep)
    assert owners(keys) == [None, "acme"]
    assert keys.state()["rejected"] is None
    assert sum("rejected" in record.getMessage() for record in caplog.records) == 1
    assert file_line(NEW, "acme").strip() not in caplog.text

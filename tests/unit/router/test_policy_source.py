"""The policy file: what is in force, and what is said of a newer one that cannot be."""

import os
from pathlib import Path

import pytest
from fakes import policy_text

from policies.loading import PolicyError
from router.policy_source import PolicySource, default_policy

pytestmark = pytest.mark.unit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(policy_text("first"))
    return path


def mode(source: PolicySource) -> str:
    return source.resolve(tenant="anonymous", task="code").mode


def test_without_a_file_the_preset_is_in_force() -> None:
    """The default preset, under its name and the hash of its text, and never reloaded."""
    source = PolicySource()
    assert source.label.startswith("default@")
    assert source.state.text == default_policy()
    assert not source.reload()


def test_schedules_follow_the_clock(file: Path) -> None:
    """What holds is what holds now, in the policy that was loaded as in the one that is reloaded."""
    now_s = [0.0]
    source = PolicySource(file, clock=lambda: now_s[0])
    assert source.resolve(tenant="anonymous", task="code").k.max == 8
    peak = {"name": "peak", "when": {"from": "09:00", "to": "10:00"}, "k": {"max": 3}}
    file.write_text(policy_text("scheduled", schedules=[peak]))
    assert source.reload()
    seen = []
    for hour in (8, 9, 10, 9):
        now_s[0] = hour * 3600.0
        seen.append(source.resolve(tenant="anonymous", task="code").k.max)
    assert seen == [8, 3, 8, 3]


def test_an_edited_file_is_in_force(file: Path) -> None:
    """Its settings, label and text change together; the same text has the same revision everywhere."""
    source = PolicySource(file)
    before = source.label
    assert not source.reload()
    file.write_text(policy_text("second", mode="always_vanilla"))
    assert source.reload()
    assert mode(source) == "always_vanilla"
    assert source.label.startswith("second@")
    assert source.state.text == file.read_text()
    file.write_text(policy_text("first"))
    assert source.reload()
    assert source.label == before == PolicySource(file).label


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        policy_text("x", mode="nonsense").encode(),
        policy_text("x", mood="x").encode(),
        policy_text("x").encode("utf-16"),
        b"x" * (3 * 2**20),
        b"[" * 100_000,
    ],
)
def test_a_broken_file_changes_nothing(file: Path, text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The last good policy stays in force; the reason is kept, and logged once however often it is read."""
    source = PolicySource(file)
    before = source.label
    file.write_bytes(text)
    for _ in range(3):
        assert not source.reload()
    assert (source.label, mode(source)) == (before, "always_speculative")
    assert source.state.rejected
    assert caplog.text.count("stays in force") == 1


def test_a_mended_file_withdraws_the_complaint(file: Path) -> None:
    """A good file after a broken one is in force and nothing is rejected, be it the old text or a new one."""
    source = PolicySource(file)
    for text, is_another in ((policy_text("first"), False), (policy_text("second"), True)):
        file.write_text("broken")
        assert not source.reload()
        assert source.state.rejected
        file.write_text(text)
        assert source.reload() is is_another
        assert source.state.rejected is None


def test_a_deleted_file_changes_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The policy stays; the reason names the file, is logged once and withdrawn when the file is back."""
    source = PolicySource(file)
    text = file.read_text()
    file.unlink()
    for _ in range(3):
        assert not source.reload()
    assert str(file) in (source.state.rejected or "")
    assert caplog.text.count("stays in force") == 1
    file.write_text(text)
    source.reload()
    assert source.state.rejected is None
    assert source.label.startswith("first@")


def test_an_unreadable_file_changes_nothing(file: Path) -> None:
    """Whatever stands in the file's place and cannot be read, the policy stays."""
    source = PolicySource(file)
    file.unlink()
    file.mkdir()
    assert not source.reload()
    assert "directory" in (source.state.rejected or "")
    file.rmdir()
    file.symlink_to(file)
    assert not source.reload()
    assert source.state.rejected
    assert mode(source) == "always_speculative"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_changes_nothing(file: Path) -> None:
    """The reason is the system's."""
    source = PolicySource(file)
    file.chmod(0)
    assert not source.reload()
    assert "ermission" in (source.state.rejected or "")


def test_a_config_map_is_followed(tmp_path: Path) -> None:
    """Kubernetes swaps a symbolic link to a folder; neither the file's name nor its times need change."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "policy.yaml").write_text(policy_text(version))
        os.utime(tmp_path / version / "policy.yaml", (1, 1))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    source = PolicySource(tmp_path / "policy.yaml")
    assert source.label.startswith("v1@")
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert source.reload()
    assert source.label.startswith("v2@")


def test_at_start_a_bad_file_is_an_error(tmp_path: Path) -> None:
    """There is no last good policy to fall back to."""
    with pytest.raises(OSError, match="No such file"):
        PolicySource(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("mode: x")
    with pytest.raises(PolicyError, match=r"bad\.yaml"):
        PolicySource(tmp_path / "bad.yaml")

from pathlib import Path

import pytest

from replicas import torch_check

pytestmark = pytest.mark.unit


def build(folder: Path, version: str, *, cuda: str | None = None, hip: str | None = None) -> Path:
    """A torch package of which only version.py exists."""
    (folder / "version.py").write_text(f"__version__ = {version!r}\ncuda = {cuda!r}\nhip = {hip!r}\n")
    return folder


@pytest.mark.parametrize("version", ["2.13.0+cpu", "2.13.0"])
def test_cpu_build_passes_whatever_its_version_is_called(tmp_path: Path, version: str) -> None:
    """Some indexes leave the `+cpu` out."""
    assert torch_check.problem(build(tmp_path, version)) is None


@pytest.mark.parametrize("accelerator", [{"cuda": "13.0"}, {"hip": "7.1"}])
def test_accelerator_build_is_named_with_the_way_out(tmp_path: Path, accelerator: dict[str, str]) -> None:
    """One line: what is installed, and the two variables that make pip find the other one."""
    message = torch_check.problem(build(tmp_path, "2.13.0", **accelerator))
    assert message is not None
    assert message.startswith("torch 2.13.0 is built for ")
    assert "PIP_EXTRA_INDEX_URL" in message
    assert "PIP_FIND_LINKS" in message
    assert "\n" not in message


def test_wrong_torch_ends_with_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line goes to stderr, where make's own messages go."""
    package = build(tmp_path, "2.13.0", cuda="13.0")
    monkeypatch.setattr(torch_check, "torch_package", lambda: package)
    assert torch_check.main() == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_missing_torch_says_what_to_run() -> None:
    """No torch at all is another problem with another remedy."""
    message = torch_check.problem(None)
    assert message is not None
    assert "requirements/cpu.lock" in message

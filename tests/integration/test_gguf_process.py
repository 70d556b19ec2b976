import importlib.util
from pathlib import Path

import pytest

from replicas.gguf_process import ConversionError, convert_in_process

pytestmark = pytest.mark.integration


def ignore(stage: str, fraction: float) -> None:
    """A progress callback for tests that look elsewhere."""


def test_unreadable_source_fails_with_one_line(tmp_path: Path) -> None:
    """The converter's last word becomes the error; its warnings and tracebacks stay inside."""
    source = tmp_path / "broken.gguf"
    source.write_bytes(b"GGUF but nothing after it")
    with pytest.raises(ConversionError) as error:
        convert_in_process(source, tmp_path, ignore)
    assert "\n" not in str(error.value)
    assert "Error" in str(error.value)


def test_missing_package_is_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this, transformers would explain a missing accelerate at length and late."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "accelerate" else found(name)
    )
    with pytest.raises(ConversionError, match="accelerate is not installed: pip install"):
        convert_in_process(tmp_path / "any.gguf", tmp_path, ignore)

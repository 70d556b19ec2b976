"""How the chat backend starts, what it says where it cannot, and what it is made of."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from chat_backend import __main__ as program

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "chat-backend"


def pins(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if line and line[0] not in "#-"]
    pairs = [line.split("==") for line in lines]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def test_wrong_settings_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each, with the variable's name; nothing is served."""
    monkeypatch.delenv("CHAT_MODEL", raising=False)
    monkeypatch.setenv("CHAT_DEADLINE_S", "soon")
    assert program.main() == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["CHAT_MODEL", "CHAT_DEADLINE_S"]


def test_it_is_tested_with_what_it_is_deployed_with() -> None:
    """Every pin is the one of the lock that these tests run on."""
    tested = pins(ROOT / "requirements" / "cpu.lock")
    for name, version in pins(EXAMPLE / "requirements.txt").items():
        assert tested[name] == version


def test_it_is_a_program_of_its_own() -> None:
    """It can be copied: nothing of specroute is imported, and nothing that it does not install."""
    allowed = {"chat_backend", "fastapi", "openai", "pydantic", "pydantic_settings", "starlette", "uvicorn"}
    for file in (EXAMPLE / "chat_backend").glob("*.py"):
        for name in re.findall(r"^(?:from|import) (\w+)", file.read_text(), re.MULTILINE):
            assert name in allowed | sys.stdlib_module_names, (file.name, name)


def test_the_page_fetches_nothing_from_elsewhere_and_makes_no_markup() -> None:
    """No other host is named, and no text becomes HTML."""
    for file in (EXAMPLE / "chat_backend" / "static").iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"(?m)(^|\s)//.*$", "", text), file.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)

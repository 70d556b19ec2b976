"""`specroute keys`: made once, shown once, checked without showing anything."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from router.cli import app
from router.keys import KeyOwner, file_line, parse_keys

pytestmark = pytest.mark.unit


def run(*words: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["keys", *map(str, words)], input=stdin)


def test_a_new_key_and_its_line() -> None:
    """Two lines on standard output: the key, and what the file needs to know it; two runs, two keys."""
    first, second = run("new", "acme"), run("new", "acme", "--label", "backend")
    keys = []
    for result, label in ((first, None), (second, "backend")):
        assert result.exit_code == 0
        key, line = result.stdout.splitlines()
        owner = parse_keys(line, "keys.yaml").owner(key.encode())
        assert owner is not None
        assert owner.tenant == "acme"
        assert owner.label == label or (label is None and owner.label.count("-") == 2)
        assert key not in line
        assert key not in result.stderr
        keys.append(key)
    assert keys[0] != keys[1]


def test_a_new_key_as_json() -> None:
    """For scripts that put the key into a secret manager and the line into the file."""
    answer = json.loads(run("new", "acme", "--json", "--label", "").stdout)
    assert parse_keys(answer["line"], "keys.yaml").owner(answer["key"].encode()) == KeyOwner("acme")
    assert answer["tenant"] == "acme"


def test_a_key_that_exists() -> None:
    """Is read from standard input, where no process list shows it, and not repeated."""
    result = run("new", "acme", "--stdin", "--label", "old", stdin="sk-mine\n")
    assert result.exit_code == 0
    assert result.stdout == file_line("sk-mine", "acme", "old") + "\n"
    assert "sk-mine" not in result.output
    assert json.loads(run("new", "acme", "--stdin", "--json", stdin="sk-mine").stdout)["key"] is None
    for none in ("", "\n", "two words\n"):
        assert run("new", "acme", "--stdin", stdin=none).exit_code == 2


@pytest.mark.parametrize("words", [("a b",), ("anonymous",), ("",), ("acme", "--label", "x" * 81)])
def test_owners_that_cannot_be(words: tuple[str, ...]) -> None:
    """Bad input, told in one line; no key is made."""
    result = run("new", *words)
    assert result.exit_code == 2
    assert not result.stdout
    assert len(result.stderr.strip().splitlines()) == 1


def test_validate(tmp_path: Path) -> None:
    """Whose keys a file holds; or a line for every problem, and exit code 2."""
    file = tmp_path / "keys.yaml"
    file.write_text(f"{file_line('sk-one', 'acme', 'old')}\n{file_line('sk-two', 'beta')}\n")
    result = run("validate", file)
    assert result.exit_code == 0
    assert "acme" in result.stdout
    assert "old" in result.stdout
    told = json.loads(run("validate", file, "--json").stdout)
    assert [entry["tenant"] for entry in told["keys"]] == ["acme", "beta"]
    file.write_text("sk-hunter2: acme\nsk-hunter3: beta\n")
    result = run("validate", file)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2
    told = json.loads(run("validate", file, "--json").stdout)
    assert (told["valid"], len(told["problems"])) == (False, 2)
    assert "hunter" not in result.output + json.dumps(told)
    assert run("validate", tmp_path / "none.yaml").exit_code == 2
    file.write_text("{}")
    assert "no keys" in run("validate", file).stdout

"""The command line: help, exit codes, JSON, and errors of one line."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner, Result

from policies.tasks import TASKS
from router.cli import app

pytestmark = pytest.mark.unit

LINE = json.dumps({"messages": [{"role": "user", "content": "Write a Python function that adds."}]})


def run(*words: object, stdin: str | bytes | None = None, **env: str | None) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=stdin, env=env)


def refused(result: Result, code: int = 2) -> str:
    """The one line of an error."""
    assert result.exit_code == code, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.strip().splitlines()
    return line


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(group, typer.core.TyperGroup):
        context: Any = None
        for name in group.list_commands(context):
            yield from commands(group.get_command(context, name), (*path, name))


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(command: tuple[str, ...]) -> None:
    """Every command has help that says what it does, and commands that do something have an example."""
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output
    if command and command not in {("models",), ("policy",)}:
        assert "xample" in result.output


def test_the_commands_of_this_version() -> None:
    """The names of the contract that exist so far."""
    assert set(COMMANDS) >= {
        ("serve",),
        ("classify",),
        ("alpha",),
        ("plan",),
        ("models", "prepare"),
        ("policy", "validate"),
        ("policy", "diff"),
        ("policy", "explain"),
        ("policy", "schema"),
    }


@pytest.mark.parametrize(
    "words", [["nonsense"], ["serve", "--nope"], ["serve", "--port", "0"], ["serve", "x"]]
)
def test_wrong_usage_is_bad_input(words: list[str]) -> None:
    """Exit code 2."""
    assert run(*words).exit_code == 2


class TestClassify:
    def test_a_file(self, tmp_path: Path) -> None:
        """One line of JSON for every line, in order."""
        file = tmp_path / "in.jsonl"
        file.write_text(f"{LINE}\n\n{LINE}\n")
        result = run("classify", file)
        assert result.exit_code == 0
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert len(found) == 2
        assert all(one.keys() == {"task", "confidence"} for one in found)
        assert found[0]["task"] == "code"

    def test_standard_input(self) -> None:
        """Without a file, standard input; nothing in, nothing out."""
        assert json.loads(run("classify", stdin=LINE).stdout)["task"] in TASKS
        assert run("classify", stdin="").exit_code == 0

    def test_bad_lines(self) -> None:
        """Good lines are answered, bad ones are named by number, and the exit code is 2."""
        result = run("classify", stdin=f"{LINE}\nnot json\n[1]\n{LINE}\n")
        assert result.exit_code == 2
        assert len(result.stdout.splitlines()) == 2
        errors = result.stderr.splitlines()
        assert [error.split(":")[1].strip() for error in errors] == ["line 2", "line 3"]

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        """They are a bad line, from a file and from standard input alike."""
        content = b"\xff\xfe\n" + LINE.encode()
        file = tmp_path / "in.jsonl"
        file.write_bytes(content)
        for result in (run("classify", file), run("classify", stdin=content)):
            assert result.exit_code == 2
            assert isinstance(result.exception, SystemExit)
            assert len(result.stdout.splitlines()) == 1

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        """One line with the file's name."""
        assert str(tmp_path / "none") in refused(run("classify", tmp_path / "none"))
        assert "directory" in refused(run("classify", tmp_path))


ROW = {
    "profile": "ngram",
    "task": "code",
    "tenant": None,
    "temperature": None,
    "alpha": 0.5,
    "interval": [0.4, 0.6],
    "coverage": [0.9],
    "acceptance_length": 2.0,
    "steps": 7.0,
    "lifetime": {"requests": 3},
}


class Answers(BaseHTTPRequestHandler):
    """Answers every GET with the server's `status` and `body`."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.seen = dict(self.headers)
        self.send_response(server.status)
        self.end_headers()
        self.wfile.write(server.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[Any]:
    """Something that answers over HTTP."""
    server: Any = HTTPServer(("127.0.0.1", 0), Answers)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.status = 200
    rows = [ROW, {**ROW, "tenant": "acme"}, {**ROW, "task": "qa", "interval": None, "alpha": None}]
    server.body = json.dumps({"entries": rows, "store_up": True}).encode()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class TestAlpha:
    def test_what_was_learned(self, service: Any) -> None:
        """A row for each task of the totals, or of one tenant; as a table or as JSON."""
        result = run("alpha", "--url", service.url)
        assert result.exit_code == 0
        assert "0.40 to 0.60" in result.stdout
        found = json.loads(run("alpha", "--url", service.url, "--json", "--tenant", "acme").stdout)
        assert [row["tenant"] for row in found["entries"]] == ["acme"]
        found = json.loads(run("alpha", "--url", f"{service.url}/", "--json", "--task", "qa").stdout)
        assert [row["task"] for row in found["entries"]] == ["qa"]

    def test_the_token(self, service: Any) -> None:
        """It is taken from the environment."""
        run("alpha", "--url", service.url, SPECROUTE_ADMIN_TOKEN="sesame")
        assert service.seen["Authorization"] == "Bearer sesame"
        service.status = 401
        assert "SPECROUTE_ADMIN_TOKEN" in refused(run("alpha", "--url", service.url), 1)

    def test_when_no_service_runs(self) -> None:
        """Exit code 1 and what to check."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        assert "is the service running?" in refused(run("alpha", "--url", url), 1)

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"other": 1}', b"\xff"])
    def test_when_something_else_answers(self, service: Any, body: bytes) -> None:
        """One line, no traceback."""
        service.body = body
        assert service.url in refused(run("alpha", "--url", service.url), 1)

    @pytest.mark.parametrize("url", ["localhost:8000", "file:///etc/passwd", "", "http://[", "ftp://x"])
    def test_what_is_no_url(self, url: str) -> None:
        """Bad input."""
        assert "--url" in refused(run("alpha", "--url", url))

    def test_a_store_that_is_away(self, service: Any) -> None:
        """The figures are shown, with a word on whose they are."""
        service.body = json.dumps({"entries": [], "store_up": False}).encode()
        result = run("alpha", "--url", service.url)
        assert result.exit_code == 0
        assert "nothing learned yet" in result.stdout
        assert "store" in result.stderr


class TestServe:
    def test_check(self, tmp_path: Path) -> None:
        """What can be checked without starting is, and nothing is started."""
        config = tmp_path / "serve.yaml"
        config.write_text(
            json.dumps(
                {
                    "applications": [
                        {
                            "import_path": "router.app:build",
                            "args": {"fake_engines": {}, "store": {"url": "redis://127.0.0.1:1"}},
                        }
                    ]
                }
            )
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        result = run("serve", "--config", config, "--port", port, "--check")
        assert result.exit_code == 0, result.output
        assert "in order" in result.stderr
        line = refused(
            run("serve", "--config", config, "--policy", tmp_path / "none", "--port", port, "--check")
        )
        assert str(tmp_path / "none") in line

    def test_a_config_that_cannot_be_read(self, tmp_path: Path) -> None:
        """One line with the file's name."""
        assert "No such file" in refused(run("serve", "--config", tmp_path / "none.yaml"))
        assert "directory" in refused(run("serve", "--config", tmp_path))


def test_click_is_what_typer_uses() -> None:
    """The commands were found through click, so the list above is complete."""
    assert isinstance(typer.main.get_command(app), click.Command | typer.core.TyperGroup)
    assert len(COMMANDS) > 8

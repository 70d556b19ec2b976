"""`specroute policy set-mode`, `apply`, `rollback` and `history` against something that answers over HTTP."""

import json
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from router import cli

pytestmark = pytest.mark.unit

TEXT = """apiVersion: specroute/v1
kind: RoutingPolicy
metadata: {name: live}
spec:
  mode: adaptive  # by time
"""


class Live(BaseHTTPRequestHandler):
    """Plays the policy endpoints of a service with two routers; the second one is `late` by some GETs."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.gets += 1
        if server.late and server.changed:
            server.late -= 1
        self._answer(*server.given or (200, self._state()))

    def do_PUT(self) -> None:
        server: Any = self.server
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        server.seen = dict(self.headers)
        if server.given:
            self._answer(*server.given)
        elif server.conflicts:
            server.conflicts -= 1
            server.text += f"# other {server.conflicts}\n"
            self._answer(412, {"error": {"message": "If-Match: changed"}})
        elif self.headers["If-Match"] not in {"*", f'"{revision(server.text)}"'}:
            self._answer(412, {"error": {"message": "If-Match: changed"}})
        else:
            server.text, server.changed = text, True
            self._answer(200, self._state() | {"warnings": server.warnings})

    def do_POST(self) -> None:
        server: Any = self.server
        server.seen = dict(self.headers)
        server.posted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.text, server.changed = server.text.replace("live", "earlier"), True
        self._answer(*server.given or (200, self._state()))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _state(self) -> dict[str, Any]:
        server: Any = self.server
        mine = revision(server.text)
        theirs = "000000000000" if server.late and server.changed else mine
        return {
            "name": "live",
            "revision": mine,
            "text": server.text,
            "version": 4,
            "rejected": server.rejected,
            "history": [
                {
                    "version": 4,
                    "revision": mine,
                    "name": "live",
                    "origin": "put",
                    "source": "",
                    "author": "ann",
                    "note": "for [now]",
                    "at": 1.7e9,
                }
            ],
            "routers": [
                {"id": "r1", "version": 4, "revision": mine, "rejects_newer": False, "seen_s_ago": 0.0},
                {"id": "r2", "version": None, "revision": theirs, "rejects_newer": True, "seen_s_ago": 1.0},
            ],
        }

    def _answer(self, status: int, body: object) -> None:
        server: Any = self.server
        self.send_response(status)
        self.send_header("ETag", f'"{revision(server.text)}"')
        if server.location:
            self.send_header("Location", server.location)
        if server.promised:
            self.send_header("Content-Length", server.promised)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())


def revision(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


@pytest.fixture
def service() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Live)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.text, server.changed, server.late, server.conflicts, server.gets = TEXT, False, 0, 0, 0
    server.given, server.rejected, server.warnings, server.seen, server.posted = None, None, [], {}, None
    server.location = server.promised = None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(service: Any, *words: object, **env: str) -> Result:
    environment = {"SPECROUTE_ADMIN_TOKEN": "", "COLUMNS": "200", "LOGNAME": "ann", **env}
    arguments = ["policy", *map(str, words), "--url", service.url]
    return CliRunner().invoke(cli.app, arguments, env=environment)


def test_the_kill_switch_changes_one_value(service: Any) -> None:
    """The comment stays; the change is signed; the command tells when all routers have it."""
    service.late = 2
    result = run(
        service, "set-mode", "always_vanilla", "--note", "incident  é", SPECROUTE_ADMIN_TOKEN="sesame"
    )
    assert result.exit_code == 0, result.stderr
    assert service.text == TEXT.replace("adaptive", "always_vanilla")
    assert service.seen["If-Match"] == f'"{revision(TEXT)}"'
    assert service.seen["X-Specroute-Author"] == "ann"
    note = service.seen["X-Specroute-Note"].encode("latin-1").decode()
    assert note == "set-mode always_vanilla: incident é"
    assert service.seen["Authorization"] == "Bearer sesame"
    assert f"live@{revision(service.text)} (version 4) in force on all 2 routers after" in result.stdout


def test_the_kill_switch_prevails_over_others_who_edit(service: Any) -> None:
    """Where the policy changed in between, the mode is set in what there is now."""
    service.conflicts = 3
    told = json.loads(run(service, "set-mode", "always_vanilla", "--json").stdout)
    assert service.text.endswith("# other 2\n# other 1\n# other 0\n")
    assert "mode: always_vanilla  # by time" in service.text
    assert (told["routers"], told["waiting_for"], told["version"]) == (2, [], 4)
    assert told["policy"] == f"live@{revision(service.text)}"
    assert told["in_force_s"] >= 0


def test_a_router_that_does_not_follow_is_named(service: Any) -> None:
    """Exit code 1, after the wait."""
    service.late = 10**9
    result = run(service, "set-mode", "shadow", "--wait", "0", "--json")
    assert result.exit_code == 1
    assert "not in force yet on r2" in result.stderr
    told = json.loads(result.stdout)
    assert (told["in_force_s"], told["waiting_for"]) == (None, ["r2"])


def test_a_mode_that_is_none(service: Any) -> None:
    """Bad input, with the closest one; nothing is asked."""
    result = run(service, "set-mode", "always_vanila")
    assert result.exit_code == 2
    assert "did you mean 'always_vanilla'" in result.stderr
    assert not service.gets


def test_a_text_that_cannot_be_edited(service: Any) -> None:
    """One line that says so; nothing is put."""
    service.text = "spec: ["
    result = run(service, "set-mode", "shadow")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert not service.changed


def test_applying_a_file(service: Any, tmp_path: Path) -> None:
    """Whatever is in force is replaced, or only the revision that is named; warnings are printed."""
    file = tmp_path / "next.yaml"
    file.write_text(TEXT.replace("live", "next"))
    stale = run(service, "apply", file, "--replacing", "000000000000")
    assert (stale.exit_code, service.changed) == (1, False)
    assert "If-Match: changed" in stale.stderr
    place = {"line": 5, "column": 3, "path": "spec.mode", "message": "odd", "hint": "mend it"}
    service.warnings = [place]
    result = run(service, "apply", file, "--replacing", revision(TEXT))
    assert (result.exit_code, service.text) == (0, file.read_text())
    assert f"warning: {file}:5:3: spec.mode: odd; mend it" in result.stderr
    assert run(service, "apply", file).exit_code == 0
    assert service.seen["If-Match"] == "*"


def test_applying_a_broken_file(service: Any, tmp_path: Path) -> None:
    """Exit code 2 and every problem with its place in the file, as `validate` prints them."""
    file = tmp_path / "next.yaml"
    file.write_text("x")
    problems = [
        {"line": 1, "column": 2, "path": "spec.k", "message": "wrong", "hint": ""},
        {"line": 3, "column": 4, "path": "", "message": "bad", "hint": "do this"},
    ]
    service.given = (422, {"valid": False, "problems": problems, "error": {"message": "x"}})
    result = run(service, "apply", file)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"{file}:1:2: spec.k: wrong", f"{file}:3:4: bad; do this"]
    assert run(service, "apply", tmp_path / "none").exit_code == 2


def test_rolling_back(service: Any) -> None:
    """To the version before, or to a revision."""
    assert run(service, "rollback").exit_code == 0
    assert service.posted == {}
    assert run(service, "rollback", "0123456789ab", "--note", "why").exit_code == 0
    assert service.posted == {"revision": "0123456789ab"}
    assert service.seen["X-Specroute-Note"] == "why"


def test_what_is_no_revision(service: Any) -> None:
    """The service says what one looks like, and it is bad input."""
    service.given = (400, {"error": {"message": "revision: 12 hex digits, as the history lists them"}})
    result = run(service, "rollback", "yesterday")
    assert (result.exit_code, "12 hex digits" in result.stderr) == (2, True)


def test_the_history(service: Any) -> None:
    """Versions and routers as tables or as JSON; what is rejected stands beside them."""
    service.rejected = "version 5: spec.mood: unknown key"
    result = run(service, "history")
    assert result.exit_code == 0
    for words in ("live@", "put ann", "for [now]", "version -", "rejects a newer one"):
        assert words in result.stdout
    assert "spec.mood" in result.stderr
    told = json.loads(run(service, "history", "--json").stdout)
    assert [version["version"] for version in told["history"]] == [4]
    assert [router["id"] for router in told["routers"]] == ["r1", "r2"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, {"error": {"message": "the store is away: change the policy file"}}, "change the policy file"),
        (403, {"error": {"message": "closed"}}, "SPECROUTE_ADMIN_TOKEN"),
        (401, {"error": {"message": "its own token"}}, "SPECROUTE_ADMIN_TOKEN"),
        (404, {"error": {"message": "no such endpoint"}}, "too old"),
        (405, {"error": {"message": "method PUT is not allowed"}}, "not allowed"),
        (500, {"error": None}, "status 500"),
        (200, b"<html>", "no specroute"),
        (502, b"", "no specroute"),
        (200, [], "no specroute"),
    ],
)
def test_what_a_service_may_answer(
    service: Any, tmp_path: Path, status: int, body: object, words: str
) -> None:
    """Exit code 1 and one line that says what to do."""
    file = tmp_path / "next.yaml"
    file.write_text(TEXT)
    service.given = (status, body)
    result = run(service, "apply", file)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert words in result.stderr
    if status >= 400:
        assert words in run(service, "set-mode", "shadow").stderr
        assert (run(service, "history").exit_code, words in run(service, "history").stderr) == (1, True)


def test_a_refusal_that_breaks_off(service: Any) -> None:
    """One line, as when nobody answers."""
    service.given, service.promised = (500, b"{"), "1000"
    result = run(service, "history")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "is the service running?" in result.stderr


def test_a_redirection_is_not_followed(service: Any) -> None:
    """The token is for the service that was named; the command says which other one is meant."""
    service.given, service.location = (301, b""), "https://elsewhere.example/admin/v1/policy"
    result = run(service, "history", SPECROUTE_ADMIN_TOKEN="sesame")
    assert (result.exit_code, service.gets) == (1, 1)
    assert "https://elsewhere.example/admin/v1/policy" in result.stderr


@pytest.mark.parametrize("url", ["localhost:8000", "file:///etc/passwd", "", "http://["])
def test_what_is_no_url(url: str) -> None:
    """Bad input."""
    result = CliRunner().invoke(cli.app, ["policy", "history", "--url", url])
    assert (result.exit_code, "--url" in result.stderr) == (2, True)


def test_when_no_service_runs(service: Any) -> None:
    """Exit code 1 and what to check."""
    result = CliRunner().invoke(cli.app, ["policy", "rollback", "--url", "http://127.0.0.1:1"])
    assert (result.exit_code, "is the service running?" in result.stderr) == (1, True)

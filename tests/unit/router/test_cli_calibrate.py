"""`specroute calibrate` on the command line: options, and services that are none."""

import json
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from calibrated_service import COST, POLICY
from typer.testing import CliRunner

from policies.replay import Lookup
from router.calibrating.service import ServiceError, cost, facts
from router.cli import app

pytestmark = pytest.mark.unit

POOL = {"profile": "vanilla", "method": "none", "max_k": 0, "replicas": 1, "capacity": 8, "available": True}
LOOKUP = {"max_k": 8, "least_asked": 0, "prompt_lookup": {"min": 2, "max": 5}}
NGRAM = {**POOL, "profile": "ngram", "method": "ngram", **LOOKUP}
DRAFT = {**POOL, "profile": "draft", "method": "draft_model", "max_k": 4, "replicas": 2, "available": False}
ANSWERS: dict[str, Any] = {
    "/admin/v1/policy": {"name": "mine", "revision": "0123", "text": POLICY},
    "/admin/v1/replicas": {"pools": [{**one, "in_flight": 1} for one in (POOL, NGRAM, DRAFT)]},
    "/admin/v1/cost": COST,
    "/v1/models": {"data": [{"id": "m", "max_model_len": 4096}]},
}


class Pretended:
    """What the service answers, by path; changed by tests."""

    def __init__(self, url: str, answers: Mapping[str, Any]) -> None:
        self.url = url
        self.answers = dict(answers)


@pytest.fixture
def service() -> Iterator[Pretended]:
    """An HTTP server with canned answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = pretended.answers.get(self.path)
            content = json.dumps(
                answer if answer is not None else {"error": {"message": "not here"}}
            ).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        pretended = Pretended(f"http://127.0.0.1:{server.server_port}", ANSWERS)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield pretended
        server.shutdown()
        thread.join()


def run(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["calibrate", *arguments])
    return found.exit_code, found.stderr


def test_what_a_service_is_made_of_is_found_out(service: Pretended) -> None:
    """The pools that answer, how their drafts are replayed, and who else is there."""
    found = facts(service.url)
    assert (found.model, found.max_model_len, found.policy_name) == ("m", 4096, "mine@0123")
    assert [(pool.profile, pool.max_k, pool.is_model, pool.least_asked) for pool in found.pools] == [
        ("vanilla", 0, False, 1),
        ("ngram", 8, False, 0),
    ]
    assert found.lookups == {"ngram": Lookup(2, 5)}
    assert found.in_flight == 3
    assert cost(service.url) == COST


@pytest.mark.parametrize(
    ("path", "answer", "told"),
    [
        ("/admin/v1/policy", None, "not here"),
        ("/admin/v1/replicas", {}, "what answers there is no specroute of this version"),
        ("/v1/models", {"data": []}, "what answers there is no specroute of this version"),
        ("/v1/models", None, "/v1/models: Client error '404"),
    ],
)
def test_what_is_no_specroute_is_told(service: Pretended, path: str, answer: Any, told: str) -> None:
    """In one line."""
    service.answers[path] = answer
    with pytest.raises(ServiceError) as caught:
        facts(service.url)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_would_be_done_is_said(service: Pretended, tmp_path: Path) -> None:
    """With its time, before anything is sent."""
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"domain": "a", "prompt": "x"}\n')
    code, told = run(str(prompts), "--url", service.url, "--check")
    assert code == 0
    assert "1 prompt of 1 domain on 10 sides: 19 requests, about 1 minute\n" in told
    assert "specroute: draft: not available now: it has no part in this\n" in told


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--k", "0"), 2, "--k: '0': expected whole numbers"),
        (("--temperature", "warm"), 2, "--temperature: 'warm': expected numbers"),
        (("--top-p", "0"), 2, "--top-p: '0': expected numbers"),
        (("--batch", "0"), 2, "--batch: '0': expected whole numbers"),
        (("--url", "localhost"), 2, "--url: 'localhost' is no http:// or https:// URL"),
        (("--url", "http://127.0.0.1:9"), 1, "is the service running?"),
        (("--url", "http://127.0.0.1:9", "--batch", "x"), 2, "--batch: 'x': expected whole numbers"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """That names the option, or the service."""
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"domain": "a", "prompt": "x"}\n')
    found, line = run(str(prompts), *arguments)
    assert (found, line.count("\n")) == (code, 1)
    assert told in line


@pytest.mark.parametrize(("content", "told"), [(None, "No such file"), ("{\n", "p.jsonl:1: not JSON")])
def test_prompts_are_read_before_a_service_is_asked(tmp_path: Path, content: str | None, told: str) -> None:
    """So what is wrong with them is told, and is bad input, where none runs."""
    prompts = tmp_path / "p.jsonl"
    if content is not None:
        prompts.write_text(content)
    found, line = run(str(prompts), "--url", "http://127.0.0.1:9")
    assert (found, line.count("\n")) == (2, 1)
    assert told in line

"""A service with keys, tokens and a decision log: what it writes, where it listens, whom it lets in."""

import json
import re
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from services import MODEL, SPECROUTE, Service, free_port, running, write_config
from waiting import ANSWER_S, until

from router.keys import file_line

pytestmark = pytest.mark.integration

PROMPT = "zanzibarium-prompt"
ANSWERED = "zanzibarium-hint"
KEY = "sk-specroute-zanzibarium-key"
UNKNOWN_KEY = "sk-zanzibarium-unknown"
TOKEN = "zanzibarium-admin-token"
METRICS_TOKEN = "zanzibarium-metrics-token"
MARK = b"zanzibarium"

PARENT = f"""
import os, subprocess, sys
os.environ |= {{"SPECROUTE_ADMIN_TOKEN": {TOKEN!r}, "SPECROUTE_METRICS_TOKEN": {METRICS_TOKEN!r}}}
os.environ["SPECROUTE_LOG_LEVEL"] = "DEBUG"
subprocess.Popen(sys.argv[1:]).wait()
"""


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("secret")
    keys = folder / "keys.yaml"
    keys.write_text(file_line(KEY, "acme", "backend") + "\n")
    with running(
        folder,
        parent=PARENT,
        tenancy={"keys_file": str(keys)},
        decision_log={"path": str(folder / "service" / "decisions.jsonl")},
        fake_engines={"step_ms": 20, "prefill_ms": 1},
    ) as service:
        yield service


def call(service: Service, body: Any, *, key: str = KEY, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): v for name, v in headers.items()}}
    return httpx.post(f"{service.url}/v1/chat/completions", content=content, headers=sent, timeout=ANSWER_S)


def get(service: Service, path: str, headers: dict[str, str]) -> httpx.Response:
    return httpx.get(service.url + path, headers=headers, timeout=ANSWER_S)


def chat(**fields: Any) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": f"Be brief about {PROMPT}."},
        {"role": "user", "content": f"What is {PROMPT}?"},
    ]
    return {"model": MODEL, "messages": messages, "max_tokens": 8, "user": PROMPT, **fields}


def files(service: Service) -> Iterator[tuple[Path, bytes]]:
    """Everything the service has written by now: logs of its own, Ray's, HAProxy's, its store's, decisions."""
    folder = Path(service._stderr).parent
    for root in (folder, service.run_folder):
        for file in root.rglob("*"):
            with suppress(OSError):  # Ray's come and go
                if stat.S_ISREG(file.lstat().st_mode) and file.name != "serve.yaml":
                    yield file, file.read_bytes()


def test_no_prompt_key_or_token_is_written(secret: Service) -> None:
    """Answered, streamed, refused and broken requests leave no text and no secret in any file of the run."""
    assert call(secret, chat()).status_code == 200
    assert call(secret, chat(stream=True)).status_code == 200
    assert call(secret, chat(), X_Specroute_Details="1").status_code == 200
    assert call(secret, chat(), X_Specroute_Task=ANSWERED).status_code == 400
    assert call(secret, chat(metadata={"task": ANSWERED})).status_code == 400
    assert call(secret, chat(max_tokens=PROMPT)).status_code == 400
    assert call(secret, chat(model=PROMPT)).status_code == 404
    assert call(secret, b'{"messages": "' + PROMPT.encode()).status_code == 400
    assert call(secret, b"{}" + PROMPT.encode() * 10).status_code == 400
    assert call(secret, chat(), key=UNKNOWN_KEY).status_code == 401
    assert call(secret, chat(), X_Specroute_Tenant=ANSWERED).status_code == 403
    admin = f"{secret.url}/admin/v1"
    for token, status in ((TOKEN, 200), (UNKNOWN_KEY, 401)):
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{admin}/decisions", headers=headers, timeout=ANSWER_S).status_code == status
    broken = httpx.post(
        f"{admin}/policy/validate",
        content=PROMPT,
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=ANSWER_S,
    )
    assert broken.status_code == 422
    with httpx.stream(
        "POST",
        f"{secret.url}/v1/chat/completions",
        json=chat(stream=True, max_tokens=300),
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=ANSWER_S,
    ):
        pass  # the reader leaves
    decided = Path(secret._stderr).parent
    until(lambda: [f for f in decided.glob("decisions-*") if f.read_bytes().count(b"\n") >= 4])
    written = dict(files(secret))
    auth = next(token for p in secret.processes() if (token := _environment(p).get("RAY_AUTH_TOKEN")))
    assert len(written) > 10
    assert any(b"request" in text for text in written.values())
    found = [
        (file.name, re.findall(rb".{0,60}" + MARK + rb".{0,40}", text)[:3])
        for file, text in written.items()
        if MARK in text
    ]
    assert not found, found
    assert not [file.name for file, text in written.items() if auth.encode() in text]
    print(f"{len(written)} files, {sum(map(len, written.values()))} bytes without a trace")


def test_nobody_else_on_this_machine_reads_them(secret: Service) -> None:
    """The run's folder, with the sockets in it, is its user's alone."""
    assert stat.S_IMODE(secret.run_folder.stat().st_mode) == 0o700


def test_admin_and_metrics_need_their_tokens(secret: Service) -> None:
    """On loopback too, where they are set; no header about the caller helps."""
    for path, tokens in (("/admin/v1/policy", {TOKEN}), ("/metrics", {TOKEN, METRICS_TOKEN})):
        for forged in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"Host": "localhost"}, {"X-Real-IP": "::1"}):
            assert get(secret, path, forged).status_code == 401
        for token in (TOKEN, METRICS_TOKEN, KEY):
            answer = get(secret, path, {"Authorization": f"Bearer {token}"})
            assert answer.status_code == (200 if token in tokens else 401)


def test_the_proxy_in_front(secret: Service) -> None:
    """Its ports are loopback's, headers that Serve would obey are gone, oversized heads are refused."""
    (file,) = (secret.run_folder / "h").rglob("*.cfg")
    config = file.read_text()
    assert len(re.findall(r"^ *bind ", config, re.MULTILINE)) == 3
    assert all(bind.startswith("127.0.0.1:") for bind in re.findall(r"^ *bind (\S+)", config, re.MULTILINE))
    # Serve would end the request at once, and answer 408 in plain text.
    assert call(secret, chat(), x_request_timeout_seconds="0.001").status_code == 200
    assert call(secret, chat(), x_long="v" * 15_000).status_code == 200
    assert call(secret, chat(), x_long="v" * 200_000).status_code in {400, 431}
    assert call(secret, chat()).status_code == 200


def test_without_a_token_it_does_not_open_to_others(tmp_path: Path) -> None:
    """`open_admin` on an address that others reach is refused before anything starts."""
    config = write_config(tmp_path, free_port(), http={"open_admin": True})
    ended = subprocess.run(
        [SPECROUTE, "serve", "--config", config, "--host", "0.0.0.0", "--check"],
        capture_output=True,
        text=True,
        timeout=ANSWER_S,
    )
    assert ended.returncode == 2, ended.stderr
    assert "http.open_admin" in ended.stderr
    assert "SPECROUTE_ADMIN_TOKEN" in ended.stderr


def test_it_ends_with_its_parent(secret: Service) -> None:
    """With SPECROUTE_EXIT_WITH_PARENT, a parent killed with SIGKILL takes everything with it."""
    assert secret.remains()
    secret.process.kill()
    until(lambda: not secret.remains())


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}

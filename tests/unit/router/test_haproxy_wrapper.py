"""What the wrapper makes of the configuration that Ray Serve writes for HAProxy."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ray.serve._private import constants, haproxy_templates

from router.serving.environment import _haproxy_binary

pytestmark = pytest.mark.unit

WRAPPER = Path(sys.modules["router.serving.environment"].__file__ or "").with_name("haproxy.sh")
CONFIG = """global
    maxconn 10
defaults
    mode http
    option splice-request
    option splice-response
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8000
    default_backend app
backend app
    server one 127.0.0.1:9
listen stats
  bind *:8404
  stats enable
"""


def wrapped(folder: Path, program: Path | str, *arguments: str, times: int = 1) -> tuple[str, str]:
    """The configuration after the wrapper ran the program on it, and what that printed."""
    file = folder / "haproxy.cfg"
    file.write_text(CONFIG)
    environment = {**os.environ, "SPECROUTE_HAPROXY": str(program)}
    for _ in range(times):
        ended = subprocess.run(
            ["/bin/sh", WRAPPER, *arguments, "-f", file], env=environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
    return file.read_text(), ended.stdout


@pytest.mark.parametrize("times", [1, 3])
def test_every_port_listens_on_loopback(tmp_path: Path, times: int) -> None:
    """The statistics and the metrics too; a second run, as for a reload, changes nothing more."""
    text, _ = wrapped(tmp_path, "/bin/echo", times=times)
    assert re.findall(r"bind (\S+)", text) == ["127.0.0.1:9101", "127.0.0.1:8000", "127.0.0.1:8404"]
    assert "splice-request" not in text
    assert text.count("del-header") == 2
    assert text.count("disable-l7-retry") == text.count("http-buffer-request") == 1


def test_headers_that_serve_obeys_are_taken_off(tmp_path: Path) -> None:
    """Both of them, by the names that this version of Serve has for them."""
    text, _ = wrapped(tmp_path, "/bin/echo")
    frontend = text.partition("frontend http_frontend")[2].partition("backend app")[0]
    for header in (
        constants.SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER,
        constants.SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER,
    ):
        assert f"http-request del-header {header}\n" in frontend


def test_serves_template_has_what_the_wrapper_looks_for() -> None:
    """A Serve that writes another configuration must not pass unnoticed."""
    template = haproxy_templates.HAPROXY_CONFIG_TEMPLATE
    assert "\nfrontend http_frontend\n" in template
    assert "    option splice-request\n" in template
    assert {bind for bind in re.findall(r"bind (.*)", template) if bind.startswith((":", "*"))} == {
        ":{{ config.metrics_port }}",
        "*:{{ config.stats_port }}",
    }


def test_haproxy_takes_it(tmp_path: Path) -> None:
    """The real binary checks the result without a warning, and gets all arguments."""
    _, said = wrapped(tmp_path, _haproxy_binary(), "-c", "-V")
    assert "Configuration file is valid" in said

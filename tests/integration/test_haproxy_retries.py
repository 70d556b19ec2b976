"""What HAProxy does, as Serve and the wrapper configure it, where a router ends before it has answered."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from services import free_port
from waiting import ANSWER_S, until

from router.serving import environment

pytestmark = pytest.mark.integration

CONFIG = """global
    maxconn 100
    tune.bufsize {HAPROXY_TUNE_BUFSIZE}
defaults
    mode http
    timeout connect 5s
    timeout client 180s
    timeout server 180s
    option redispatch 1
    retry-on {HAPROXY_RETRY_ON}
    retries {HAPROXY_RETRIES}
    balance roundrobin
frontend http_frontend
    bind 127.0.0.1:{port}
    default_backend app
backend app
    server gone 127.0.0.1:{gone}
    server dying 127.0.0.1:{dying}
    server living 127.0.0.1:{living}
"""
ROUNDS = 6
"""More than there are servers, so that each is the first choice more than once."""


class Server:
    """Reads requests, each on a connection of its own, and answers them, or ends the connection instead."""

    def __init__(self, *, dying: bool) -> None:
        self._dying = dying
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.read = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(ANSWER_S)
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        while not data.endswith(b"END"):
            if not (piece := connection.recv(65536)):
                return
            data += piece
        self.read += 1
        if not self._dying:
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Server, Server]]:
    """HAProxy's port, a server that ends every connection, and one that answers; a third is not there.

    It took over from another HAProxy that its starter had left behind.
    """
    folder = tmp_path_factory.mktemp("haproxy")
    run = environment.new_run()
    serve = environment._serve_transport(run)
    dying, living, port = Server(dying=True), Server(dying=False), free_port()
    config = folder / "haproxy.cfg"
    values = {name.removeprefix("RAY_SERVE_"): value for name, value in serve.items()}
    config.write_text(
        CONFIG.format(port=port, gone=free_port(), dying=dying.port, living=living.port, **values)
    )

    def started() -> subprocess.Popen[bytes]:
        command = ["/bin/sh", values["HAPROXY_BINARY_PATH"], "-db", "-dR", "-f", str(config)]
        environment = os.environ | {"SPECROUTE_HAPROXY": serve["SPECROUTE_HAPROXY"]}
        return subprocess.Popen(command, env=environment)

    left_behind = started()
    haproxy = None
    try:
        until(lambda: _listens(port))
        haproxy = started()
        until(lambda: left_behind.poll() is not None)
        until(lambda: _listens(port))
        yield port, dying, living
    finally:
        for process in (left_behind, haproxy):
            if process is not None:
                process.terminate()
                process.wait(ANSWER_S)
        dying.close()
        living.close()
        run.remove()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def asked(port: int, path: str, size: int, *, pieces: bool) -> int:
    """The status of the answer to a POST whose headers and body are sent at once, or one after the other."""
    body = b"x" * (size - 3) + b"END"
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {size}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
        if pieces:
            connection.sendall(head)
            time.sleep(0.05)  # another segment: most clients send them apart
            connection.sendall(body)
        else:
            connection.sendall(head + body)
        return int(connection.recv(100).split()[1])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("size", [100, 40_000])
@pytest.mark.parametrize("pieces", [False, True])
def test_a_completion_is_answered_by_another_router(
    servers: tuple[int, Server, Server], path: str, size: int, *, pieces: bool
) -> None:
    """Where one refuses the connection, and where one reads the request and ends: exactly one answers."""
    port, dying, living = servers
    before, met = living.read, dying.read
    assert [asked(port, path, size, pieces=pieces) for _ in range(ROUNDS)] == [200] * ROUNDS
    assert living.read - before == ROUNDS
    assert dying.read > met


def test_a_change_is_not_sent_twice(servers: tuple[int, Server, Server]) -> None:
    """What a router did before it ended is not known: the operator is told, and looks."""
    port, dying, living = servers
    before = dying.read + living.read
    statuses = [asked(port, "/admin/v1/policy/rollback", 100, pieces=True) for _ in range(ROUNDS)]
    assert set(statuses) == {200, 502}
    assert dying.read + living.read - before == ROUNDS

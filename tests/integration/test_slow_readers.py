"""Clients that take their time."""

import json
import socket
import time
from http.client import HTTPResponse

import httpx
import pytest
from services import MODEL, Service
from waiting import ANSWER_S, until

pytestmark = pytest.mark.integration

TOKENS = 1500
SLOW = 12


def _request(url: httpx.URL) -> bytes:
    body = f'{{"model": "{MODEL}", "messages": [], "stream": true, "max_tokens": {TOKENS}}}'.encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url.netloc.decode()}\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def _slow_reader(url: httpx.URL) -> socket.socket:
    """A client that has sent its request, reads nothing yet, and can buffer a part of the answer only.

    Not less than a loopback segment: where no whole one fits, the kernel opens a closed window after a minute.
    """
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**17)
    client.connect((url.host, url.port))
    client.settimeout(ANSWER_S)
    client.sendall(_request(url))
    return client


def _words(client: socket.socket) -> int:
    response = HTTPResponse(client)
    response.begin()
    events = [part.removeprefix("data: ") for part in response.read().decode().split("\n\n") if part]
    assert events.pop() == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events]
    return len("".join(delta.get("content", "") for delta in deltas).split())


def _busy(service: Service) -> int:
    return sum(pool["in_flight"] for pool in service.get("/admin/v1/replicas")["pools"])


def test_slow_readers_hold_up_nobody_and_lose_nothing(service: Service) -> None:
    """Others are answered meanwhile; who reads later gets everything; who leaves unread holds no slot."""
    url = httpx.URL(service.url)
    *readers, leaving = [_slow_reader(url) for _ in range(SLOW)]
    try:
        time.sleep(1)
        began = time.monotonic()
        quick = httpx.post(
            f"{url}/v1/chat/completions",
            json={"model": MODEL, "messages": [], "max_tokens": 4},
            timeout=ANSWER_S,
        )
        assert quick.status_code == 200
        print(f"answered beside {SLOW} slow readers within {time.monotonic() - began:.2f} s")
        leaving.close()
        assert [_words(reader) for reader in readers] == [TOKENS] * len(readers)
    finally:
        for reader in readers:
            reader.close()
    until(lambda: _busy(service) == 0)

"""Clients that read streams to the end and judge them, and a hand that ends engines meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

REPLICA = "ray::ServeReplica:specroute:"


@dataclass
class Stream:
    """What came of one stream."""

    prompt: str
    status: int = 0
    profile: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    error: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """What the client reads."""
        choices = [choice for event in self.events for choice in event["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    @property
    def token_ids(self) -> list[int]:
        """The tokens, where the request asked for them."""
        choices = [choice for event in self.events for choice in event["choices"]]
        return [token for choice in choices for token in choice.get("token_ids") or []]

    @property
    def details(self) -> dict[str, Any]:
        """The `specroute` object; empty where the stream ended without it."""
        found: dict[str, Any] = self.events[-1].get("specroute") or {} if self.events else {}
        return found

    @property
    def resumed(self) -> bool:
        """Whether it went on elsewhere after it had begun."""
        return bool(self.details.get("continued_after"))

    def complaints(self, expected: str, tokens: int) -> list[str]:
        """What is wrong with it, when it should have been answered with this text of so many tokens."""
        if self.status != httpx.codes.OK or self.error is not None or not self.done:
            return [f"status {self.status}, error {self.error}, done {self.done}"]
        found = []
        if self.text != expected:
            same = next(
                (n for n, pair in enumerate(zip(self.text, expected, strict=False)) if len(set(pair)) > 1), 0
            )
            found.append(f"differs after {same} characters: {self.text[same : same + 40]!r}")
        heads = {(event["id"], event["created"], event["model"], event["object"]) for event in self.events}
        if len(heads) != 1:
            found.append(f"several heads: {heads}")
        roles = [c["delta"]["role"] for e in self.events for c in e["choices"] if "role" in c["delta"]]
        if roles != ["assistant"]:
            found.append(f"roles {roles}")
        reasons = [c["finish_reason"] for e in self.events for c in e["choices"] if c.get("finish_reason")]
        if len(reasons) != 1:
            found.append(f"finish reasons {reasons}")
        usage = self.events[-1]["usage"]
        if usage["completion_tokens"] != tokens:
            found.append(f"{usage['completion_tokens']} tokens of {tokens}")
        return found


async def read(client: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str]) -> Stream:
    """One chat stream, read to its end."""
    stream = Stream(body["messages"][-1]["content"])
    request = body | {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"X-Specroute-Details": "1"} | headers
    async with client.stream("POST", "/v1/chat/completions", json=request, headers=headers) as response:
        stream.status = response.status_code
        stream.profile = response.headers.get("x-specroute-profile", "")
        if response.status_code != httpx.codes.OK:
            stream.error = json.loads(await response.aread())["error"]
            return stream
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                stream.done = True
            elif line:
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    stream.error = event["error"]
                else:
                    stream.events.append(event)
    return stream


async def whole(client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[str, int]:
    """The same request's answer in one piece: its text and its tokens."""
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == httpx.codes.OK, response.text
    answer = response.json()
    return answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]


def replicas(processes: Sequence[psutil.Process], profile: str) -> list[psutil.Process]:
    """The processes of a pool's replicas."""
    found = []
    for process in processes:
        try:
            if " ".join(process.cmdline()).startswith(f"{REPLICA}{profile}"):
                found.append(process)
        except psutil.Error:  # it is ending
            continue
    return found


def kill(process: psutil.Process) -> None:
    """As the kernel does when memory is short."""
    os.kill(process.pid, signal.SIGKILL)


async def until(condition: Callable[[], Awaitable[bool]], limit_s: float) -> float:
    """Wait until `condition` holds; how long it took."""
    began = time.monotonic()
    while not await condition():
        waited = time.monotonic() - began
        assert waited < limit_s, f"not within {limit_s:g} s"
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def pools(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """What the admin API says of each pool."""
    answer = (await client.get("/admin/v1/replicas")).json()
    return {pool["profile"]: pool for pool in answer["pools"]}


async def failovers(client: httpx.AsyncClient) -> dict[str, float]:
    """Requests moved so far, by stage."""
    found = {}
    for line in (await client.get("/metrics")).text.splitlines():
        if line.startswith("specroute_failovers_total{"):
            name, value = line.rsplit(" ", 1)
            found[name.split('"')[1]] = float(value)
    return found

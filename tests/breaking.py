"""Clients that read streams to the end and judge them, and a hand that ends engines meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

REPLICA = "ray::ServeReplica:specroute:"
EARLY = (3, 12)
"""Events of a stream that has begun and is far from its end: so many at least, and fewer than so many."""


@dataclass
class Stream:
    """What came of one stream."""

    prompt: str
    status: int = 0
    profile: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    over: bool = False
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

    @property
    def begun(self) -> bool:
        """Whether it is some tokens into its answer."""
        return not self.over and len(self.events) >= EARLY[0]

    @property
    def early(self) -> bool:
        """Whether most of a short answer is still to come, too."""
        return self.begun and len(self.events) < EARLY[1]


async def read(
    client: httpx.AsyncClient,
    body: dict[str, Any],
    headers: dict[str, str],
    seen: list[Stream] | None = None,
) -> Stream:
    """One chat stream, read to its end. It is put into `seen` before it is asked for."""
    stream = Stream(body["messages"][-1]["content"])
    if seen is not None:
        seen.append(stream)
    try:
        await _read(stream, client, body, headers)
    finally:
        stream.over = True
    return stream


async def _read(
    stream: Stream, client: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str]
) -> None:
    request = body | {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"X-Specroute-Details": "1"} | headers
    async with client.stream("POST", "/v1/chat/completions", json=request, headers=headers) as response:
        stream.status = response.status_code
        stream.profile = response.headers.get("x-specroute-profile", "")
        if response.status_code != httpx.codes.OK:
            stream.error = json.loads(await response.aread())["error"]
            return
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                stream.done = True
            elif line:
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    stream.error = event["error"]
                else:
                    stream.events.append(event)


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


def lives(process: psutil.Process) -> bool:
    """Whether it still runs; one that has ended and whose parent has not noticed does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def pools(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """What the admin API says of each pool."""
    answer = (await client.get("/admin/v1/replicas")).raise_for_status().json()
    return {pool["profile"]: pool for pool in answer["pools"]}


async def failovers(client: httpx.AsyncClient) -> dict[str, float]:
    """Requests moved so far, by stage."""
    found = {}
    for line in (await client.get("/metrics")).raise_for_status().text.splitlines():
        if line.startswith("specroute_failovers_total{"):
            name, value = line.rsplit(" ", 1)
            found[name.split('"')[1]] = float(value)
    return found

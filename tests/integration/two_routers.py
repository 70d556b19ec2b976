"""Two routers over fake engines, with what they share: a store, a policy file, API keys."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import breaking
import httpx
from redis import Redis
from services import MODEL, SPECROUTE, STORE_MS, Service, policy
from waiting import ANSWER_S, until

from router.keys import file_line
from router.valkey import EmbeddedValkey

POLICY = "/admin/v1/policy"
ROUTERS = 2
KEYS = {tenant: f"sk-test-{tenant}" for tenant in ("acme", "beta", "gamma")}
OTHERS: Mapping[str, str] = {"X-Specroute-Tenant": "others"}
"""Headers of clients that have no key."""


class TwoRouters:
    """The service, the ConfigMap and the keys file it mounts, and its store."""

    def __init__(self, folder: Path) -> None:
        self.mount = folder / "mount"
        self.mount.mkdir()
        self._version = 0
        self.swap(policy("first"))
        (self.mount / "policy.yaml").symlink_to("..data/policy.yaml")
        self._keys = folder / "keys.yaml"
        self.give(*KEYS.items())
        self._server, self._socket = EmbeddedValkey(folder / "valkey"), folder / "socket"
        self.start_store()
        self.service = Service(
            folder / "service",
            routers=ROUTERS,
            profiles=[{"name": "vanilla"}, {"name": "ngram", "method": "ngram", "k": 4}],
            policy={"path": str(self.mount / "policy.yaml")},
            store={"url": f"unix://{self._socket}/valkey.sock", "timeout_ms": STORE_MS},
            tenancy={"keys_file": str(self._keys), "trusted_header": True},
            fake_engines={"step_ms": 5, "prefill_ms": 2},
        )

    def swap(self, text: str) -> None:
        """What kubelet does when a ConfigMap changed: a new folder, and a symbolic link renamed over the old."""
        self._version += 1
        new = self.mount / f"..{self._version}"
        new.mkdir()
        (new / "policy.yaml").write_text(text)
        (self.mount / "..data_tmp").symlink_to(new.name)
        (self.mount / "..data_tmp").rename(self.mount / "..data")

    def mounted(self, name: str, **spec: Any) -> TwoRouters:
        """Swap the file, and return when its policy is in force everywhere."""
        self.swap(policy(name, **spec))
        until(lambda: self.everywhere(name))
        return self

    def give(self, *owners: tuple[str, str], broken: str = "") -> None:
        """Write the keys file anew: tenants and keys, and a line that is not one."""
        new = self._keys.with_suffix(".new")
        new.write_text("".join(f"{file_line(key, tenant)}\n" for tenant, key in owners) + broken)
        new.replace(self._keys)

    def start_store(self) -> None:
        """Start the server where the routers look for it."""
        self._server.start()
        self._socket.symlink_to(Path(self._server.url.removeprefix("unix://")).parent)

    def stop_store(self) -> None:
        """Stop the server; its data stay."""
        self._server.stop()
        self._socket.unlink(missing_ok=True)

    def redis(self) -> Redis:
        """A connection of our own."""
        return Redis.from_url(self._server.url, decode_responses=True)

    def state(self) -> dict[str, Any]:
        """What one of the routers tells of the policy."""
        found: dict[str, Any] = self.service.get(POLICY)
        return found

    def names(self) -> list[str]:
        """The versions in the store, the newest first."""
        return [version["name"] for version in self.state()["history"]]

    def ids(self) -> set[str]:
        """The routers that report to the store."""
        return {router["id"] for router in self.state()["routers"]}

    def everywhere(self, name: str) -> bool:
        """Whether every router says that a policy of this name is in force."""
        state = self.state()
        revisions = {router["revision"] for router in state["routers"]}
        return state["name"] == name and len(state["routers"]) == ROUTERS and revisions == {state["revision"]}

    def put(self, text: str, if_match: str = "*") -> httpx.Response:
        """An operator's change."""
        return httpx.put(
            f"{self.service.url}{POLICY}", content=text, headers={"If-Match": if_match}, timeout=ANSWER_S
        )

    def publish(self, name: str) -> None:
        """Put a policy of this name, and return when it is in force on every router."""
        until(lambda: self.put(policy(name)).status_code == httpx.codes.OK)
        until(lambda: self.everywhere(name))

    def complete(self, path: str = "/v1/completions", **body: Any) -> httpx.Response:
        """A completion for nobody in particular, on a connection of its own, so that either router may get it."""
        given = {"model": MODEL, **body}
        if path == "/v1/completions":
            given = {"prompt": "hello", **given}
        return httpx.post(f"{self.service.url}{path}", json=given, headers=dict(OTHERS), timeout=ANSWER_S)

    def answered_by(self) -> set[str]:
        """The policies that decided ten requests of now."""
        answers = [self.complete(max_tokens=1).raise_for_status() for _ in range(10)]
        return {answer.headers["x-specroute-policy"].partition("@")[0] for answer in answers}

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`specroute policy …` against the service."""
        command = [str(SPECROUTE), "policy", *words, "--url", self.service.url]
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)

    def replace(self, routers: int) -> None:
        """Kill so many routers, and return when Serve has started as many, which report to the store."""
        before = self.ids()
        running = breaking.replicas(self.service.processes(), "router")
        assert len(running) == ROUTERS
        for process in running[:routers]:
            breaking.kill(process)
        until(lambda: len(self.ids() - before) >= routers)

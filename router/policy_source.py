"""The policy in force: loaded at start, reloaded when its file changes, never replaced by a broken one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from policies.loading import PolicyError, parse_policy
from policies.resolve import EffectivePolicy, PolicyTable

_log = logging.getLogger(__name__)

_MAX_BYTES = 2 * 2**20


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What `GET /admin/v1/policy` tells: the text in force, and what is wrong with a newer one."""

    name: str
    revision: str
    source: str
    text: str
    rejected: str | None = None


class PolicySource:
    """Holds the policy table and watches the file it came from.

    A revision is the first 12 hex digits of the text's SHA-256, so that routers agree on it without talking.
    Changes are found by reading, not by modification times: a ConfigMap swaps a symbolic link.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Load the policy.

        Raises:
            PolicyError: The file cannot be used.
            OSError: The file cannot be read.
        """
        self._path = path
        self._last_text = self._read()
        self._accept(self._last_text)

    @property
    def label(self) -> str:
        """name@revision, for `X-Specroute-Policy`."""
        return self._label

    @property
    def state(self) -> PolicyState:
        """The policy in force."""
        return self._state

    def resolve(self, *, tenant: str, task: str) -> EffectivePolicy:
        """What holds for this tenant and task."""
        return self._table.resolve(tenant=tenant, task=task)

    def reload(self) -> bool:
        """Read the file again; True when another policy is in force afterwards. Never raises."""
        try:
            text = self._read()
        except OSError as error:
            self._reject(f"{self._path}: {error.strerror or error}")
            return False
        if text == self._last_text:
            return False
        self._last_text = text
        try:
            self._accept(text)
        except PolicyError as error:
            self._reject(str(error))
            return False
        _log.info("policy %s is in force", self._label)
        return True

    async def watch(self, interval_s: float) -> None:
        """Reload for as long as the task lives."""
        while self._path is not None:
            await asyncio.sleep(interval_s)
            await asyncio.to_thread(self.reload)

    def _read(self) -> bytes:
        if self._path is None:
            return default_policy().encode()
        with self._path.open("rb") as file:
            return file.read(_MAX_BYTES)

    def _accept(self, text: bytes) -> None:
        source = str(self._path) if self._path is not None else "default.yaml"
        policy = parse_policy(text, source)
        revision = hashlib.sha256(text).hexdigest()[:12]
        self._table = PolicyTable(policy)
        self._label = f"{policy.metadata.name}@{revision}"
        self._state = PolicyState(policy.metadata.name, revision, source, text.decode())

    def _reject(self, problems: str) -> None:
        if problems == self._state.rejected:
            return
        _log.error("policy rejected, %s stays in force:\n%s", self._label, problems)
        self._state = PolicyState(
            self._state.name, self._state.revision, self._state.source, self._state.text, rejected=problems
        )


def default_policy() -> str:
    """The text of the preset that is in force when no policy is named."""
    return files("policies").joinpath("presets", "default.yaml").read_text(encoding="utf-8")

"""The policy in force: loaded at start, reloaded when its file changes, never replaced by a broken one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from policies.loading import PolicyError, parse_policy
from policies.resolve import EffectivePolicy, PolicyTable
from policies.schema import CustomTask
from policies.tasks import TASKS

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


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A policy that can be used: what requests ask, and what operators are told."""

    table: PolicyTable
    state: PolicyState
    custom_tasks: tuple[CustomTask, ...]

    @property
    def label(self) -> str:
        return f"{self.state.name}@{self.state.revision}"


class PolicySource:
    """Holds the policy table and watches the file it came from.

    A revision is the first 12 hex digits of the text's SHA-256, so that routers agree on it without talking.
    Changes are found by reading, not by modification times: a ConfigMap swaps a symbolic link.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """Load the policy; `clock` (seconds since 1970) says which of its schedules apply.

        Raises:
            PolicyError: The file cannot be used.
            OSError: The file cannot be read.
        """
        self._path = path
        self._clock = clock
        self._last_text: bytes | None = self._read()
        self._take_over(self._loaded(self._last_text))

    @property
    def label(self) -> str:
        """name@revision, for `X-Specroute-Policy`."""
        return self._label

    @property
    def state(self) -> PolicyState:
        """The policy in force."""
        return self._state

    @property
    def custom_tasks(self) -> tuple[CustomTask, ...]:
        """The operator's own tasks."""
        return self._custom_tasks

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task a request may name: the built-in ones and the operator's own."""
        return (*TASKS, *(task.name for task in self._custom_tasks))

    def resolve(self, *, tenant: str, task: str) -> EffectivePolicy:
        """What holds for this tenant and task now."""
        return self._table.resolve(tenant=tenant, task=task, now_s=self._clock())

    def reload(self) -> bool:
        """Read the file again; True when another policy is in force afterwards. Never raises."""
        return self._apply(self._newest())

    async def watch(
        self, interval_s: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Reload for as long as the task lives."""
        while self._path is not None:
            await sleep(interval_s)
            # Reading and parsing take their time elsewhere. The switch happens here, between two requests:
            # one that got its settings from one policy must not be labelled with another.
            self._apply(await asyncio.to_thread(self._newest))

    def _newest(self) -> _Loaded | PolicyError | OSError | None:
        """The file's policy, or why there is none; None when the file is as it was."""
        try:
            text = self._read()
            if text == self._last_text:
                return None
            self._last_text = text
            return self._loaded(text)
        except PolicyError as error:
            return error
        except OSError as error:
            self._last_text = None  # so that the same text, once it is back, withdraws the complaint
            return error

    def _apply(self, found: _Loaded | PolicyError | OSError | None) -> bool:
        match found:
            case None:
                return False
            case OSError():
                self._reject(f"{self._path}: {found.strerror or found}")
                return False
            case PolicyError():
                self._reject(str(found))
                return False
        before = self._label
        self._take_over(found)
        _log.info("policy %s is in force", self._label)
        return self._label != before

    def _read(self) -> bytes:
        if self._path is None:
            return default_policy().encode()
        with self._path.open("rb") as file:
            return file.read(_MAX_BYTES)

    def _loaded(self, text: bytes) -> _Loaded:
        source = str(self._path) if self._path is not None else "default.yaml"
        policy = parse_policy(text, source)
        revision = hashlib.sha256(text).hexdigest()[:12]
        state = PolicyState(policy.metadata.name, revision, source, text.decode())
        return _Loaded(PolicyTable(policy), state, policy.spec.custom_tasks)

    def _take_over(self, loaded: _Loaded) -> None:
        self._table, self._label, self._state = loaded.table, loaded.label, loaded.state
        self._custom_tasks = loaded.custom_tasks

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

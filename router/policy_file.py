"""Policies as read: texts made ready for use, and the file that is watched for changes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from policies.loading import PolicyError, parse_policy, parse_with_warnings
from policies.problems import Problem
from policies.resolve import PolicyTable
from policies.schema import CustomTask, RoutingPolicy
from router.policy_lineage import PRESET

MAX_BYTES: Final = 2 * 2**20
"""More is not even read; the parser allows less."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy that can be used.

    Attributes:
        table: What requests ask.
        text: As it was written.
        source: Where it comes from, in words.
        revision: First 12 hex digits of the text's SHA-256, so that routers agree on it without talking.
    """

    table: PolicyTable
    text: bytes
    source: str
    revision: str

    @property
    def name(self) -> str:
        """What the policy is called."""
        return self.table.policy.metadata.name

    @property
    def label(self) -> str:
        """name@revision."""
        return f"{self.name}@{self.revision}"

    @property
    def custom_tasks(self) -> tuple[CustomTask, ...]:
        """The operator's own tasks."""
        return self.table.policy.spec.custom_tasks


def load(text: bytes, source: str) -> Loaded:
    """The policy of a text. Takes up to a second for a large one: keep it off the event loop.

    Raises:
        PolicyError: With every problem of the text.
    """
    return _loaded(parse_policy(text, source), text, source)


def load_with_warnings(
    text: bytes, source: str, tenants_with_keys: Collection[str] | None
) -> tuple[Loaded, tuple[Problem, ...]]:
    """The policy of a text, and what in it is allowed and yet probably not meant; else as `load`."""
    policy, warnings = parse_with_warnings(text, source, tenants_with_keys)
    return _loaded(policy, text, source), warnings


def _loaded(policy: RoutingPolicy, text: bytes, source: str) -> Loaded:
    return Loaded(PolicyTable(policy), text, source, hashlib.sha256(text).hexdigest()[:12])


def default_policy() -> str:
    """The text of the preset that is in force when no policy is named."""
    return files("policies").joinpath("presets", "default.yaml").read_text(encoding="utf-8")


class PolicyFile:
    """The policy file of a deployment, or the built-in policy where it has none.

    Changes are found by reading, not by modification times: a ConfigMap swaps a symbolic link.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._last_text: bytes | None = None

    @property
    def source(self) -> str:
        """What to call it in problems."""
        return str(self.path) if self.path is not None else "default.yaml"

    def mark(self, loaded: Loaded) -> str:
        """What the file is in the line of published files."""
        return loaded.revision if self.path is not None else PRESET

    def newest(self) -> Loaded | PolicyError | OSError | None:
        """The policy the file holds, or why there is none; None when it is as it was."""
        try:
            text = self._read()
            if text == self._last_text:
                return None
            self._last_text = text
            return load(text, self.source)
        except PolicyError as error:
            return error
        except OSError as error:
            self._last_text = None  # so that the same text, once it is back, withdraws the complaint
            return error

    def _read(self) -> bytes:
        if self.path is None:
            return default_policy().encode()
        with self.path.open("rb") as file:
            return file.read(MAX_BYTES)

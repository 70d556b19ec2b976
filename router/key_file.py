"""The keys in force: read at start, again when their file changes, never replaced by broken ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from policies.yaml_tree import MAX_BYTES
from router.background import repeated
from router.keys import KeysError, KeyTable, parse_keys

_log = logging.getLogger(__name__)


class KeyFile:
    """Holds the table of keys and watches the file it came from, as a Secret is mounted.

    Changes are found by reading, not by modification times: a Secret's mount swaps a symbolic link. What
    cannot be used is reported and changes nothing; an empty file is such a thing (`{}` takes all keys back).
    """

    def __init__(self, path: Path) -> None:
        """Read the keys.

        Raises:
            KeysError: The file cannot be used.
            OSError: The file cannot be read.
        """
        self._path = path
        self._last_text: bytes | None = self._read()
        self._rejected: str | None = None
        self.table: KeyTable = parse_keys(self._last_text, str(path))
        """The keys in force."""

    def state(self) -> dict[str, Any]:
        """For operators: the keys in force without any secret, and what is wrong with a newer file."""
        return {"file": str(self._path), "keys": self.table.entries(), "rejected": self._rejected}

    def reload(self) -> bool:
        """Read the file again; True when its keys are in force afterwards. Never raises."""
        return self._apply(self._newest())

    async def watch(
        self, interval_s: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Reload for as long as the task lives."""

        async def look() -> None:
            self._apply(await asyncio.to_thread(self._newest))

        await repeated("API keys", look, interval_s, sleep)

    def _newest(self) -> KeyTable | KeysError | OSError | None:
        """The file's keys, or why there are none; None when the file is as it was."""
        try:
            text = self._read()
            if text == self._last_text:
                return None
            self._last_text = text
            return parse_keys(text, str(self._path))
        except KeysError as error:
            return error
        except OSError as error:
            self._last_text = None  # so that the same text, once it is back, withdraws the complaint
            return error
        except Exception as error:  # noqa: BLE001 - a watch that ended would never take a key back
            self._last_text = None  # so that it is tried again
            # No more of it: it may quote the file.
            return KeysError([f"{self._path}: cannot be read: unexpected {type(error).__name__}"])

    def _apply(self, found: KeyTable | KeysError | OSError | None) -> bool:
        match found:
            case None:
                return False
            case OSError():
                self._reject(f"{self._path}: {found.strerror or found}")
                return False
            case KeysError():
                self._reject(str(found))
                return False
        self.table, self._rejected = found, None
        _log.info("API keys read anew: %d keys of %d tenants", len(found), len(found.tenants))
        return True

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # one more than can be used, so that too many are noticed

    def _reject(self, problems: str) -> None:
        if problems != self._rejected:
            _log.error("API keys rejected, those read before stay in force:\n%s", problems)
        self._rejected = problems

"""What a calibration has measured so far, on disk: an interrupted one goes on where it was.

JSON Lines. The first line says of which calibration (`fingerprint`) and what was settled when it began, each
further one has a finished block with its answers, or what the service said of its step times. A last line
that was cut short is left out; everything before it counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

from policies.calibrating import Measured, PoolFacts, Side

_FORMAT: Final = "specroute/calibration-journal/v2"


class JournalError(Exception):
    """A journal that cannot be used, or not be written; one line that says what to do."""


class UnusableJournalError(JournalError):
    """A file that is no journal of this calibration: another one's, or damaged."""


class Begun(NamedTuple):
    """What is settled when a calibration begins, so that it goes on with it whatever the service tells later.

    Attributes:
        per_domain: Prompts of each domain.
        pools: The pools that are measured, as they were then.
    """

    per_domain: int
    pools: tuple[PoolFacts, ...]


class Journal:
    """The journal of one calibration.

    `begun` is what was settled when it began, None before; `done` are the answers by block, `costs` what the
    service said of its step times.
    """

    def __init__(self, path: Path, fingerprint: str, *, fresh: bool = False) -> None:
        """Read what is there; a `fresh` one forgets it. Nothing is written before `begin`.

        Raises:
            UnusableJournalError: It is another calibration's, or damaged.
            JournalError: It cannot be read.
        """
        self._path = path
        self._fingerprint = fingerprint
        self._whole = False
        self._lines: list[bytes] = []
        self.begun: Begun | None = None
        self.done: dict[int, list[Measured]] = {}
        self.costs: list[Mapping[str, Any]] = []
        try:
            content = path.read_bytes() if path.exists() and not fresh else b""
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror or error}: name another --output") from None
        if content:
            self._read(content)

    def begin(self, begun: Begun) -> None:
        """Make the file one that can be added to; `begun` counts where this calibration had not begun before.

        What was there is replaced at once or stays as it is: a full disk loses nothing.

        Raises:
            JournalError: It cannot be written.
        """
        if self._whole:
            return
        if self.begun is None:
            pools = [pool._asdict() for pool in begun.pools]
            head = {"format": _FORMAT, "fingerprint": self._fingerprint, "per_domain": begun.per_domain}
            self._lines = [_line({**head, "pools": pools})]
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.writelines(self._lines)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise self._unwritable(error) from None
        self._whole = True
        self.begun = self.begun or begun

    def add(self, block: int, answers: Sequence[Measured]) -> None:
        """Keep a finished block.

        Raises:
            JournalError: It cannot be written.
        """
        self._append({"block": block, "answers": [asdict(answer) for answer in answers]})
        self.done[block] = list(answers)

    def add_cost(self, cost: Mapping[str, Any]) -> None:
        """Keep what the service says of its step times by now.

        Raises:
            JournalError: It cannot be written.
        """
        self._append({"cost": cost})
        self.costs.append(cost)

    def _append(self, entry: Mapping[str, Any]) -> None:
        try:
            with self._path.open("ab") as file:
                file.write(_line(entry))
        except OSError as error:
            raise self._unwritable(error) from None

    def _read(self, content: bytes) -> None:
        *lines, rest = content.split(b"\n")
        for number, line in enumerate(lines or [rest], 1):
            take = self._take if number > 1 else self._take_head
            try:
                take(json.loads(line.decode()))
            except UnicodeDecodeError:
                raise self._damaged(number, "not UTF-8") from None
            except (ValueError, RecursionError):
                raise self._damaged(number, "not JSON") from None
            except (LookupError, TypeError, AttributeError):
                raise self._damaged(number, "no entry of a calibration's journal") from None
        self._lines = [line + b"\n" for line in lines or [rest]]
        self._whole = bool(lines) and not rest

    def _take_head(self, entry: Any) -> None:
        if (entry["format"], entry["fingerprint"]) != (_FORMAT, self._fingerprint):
            raise UnusableJournalError(
                f"{self._path}: of a calibration with other prompts, options or pools, another k in the "
                "policy, or of another version: name another --output, or say --fresh to begin anew"
            )
        self.begun = Begun(int(entry["per_domain"]), tuple(PoolFacts(**pool) for pool in entry["pools"]))

    def _take(self, entry: Any) -> None:
        if "cost" in entry:
            self.costs.append(entry["cost"])
        else:
            self.done[int(entry["block"])] = [_measured(answer) for answer in entry["answers"]]

    def _damaged(self, number: int, what: str) -> UnusableJournalError:
        if number == 1:
            fix = "is it a calibration's? Name another --output, or say --fresh to begin anew"
        else:
            fix = "delete this line to measure it again, or say --fresh to begin anew"
        return UnusableJournalError(f"{self._path}:{number}: {what}: {fix}")

    def _unwritable(self, error: OSError) -> JournalError:
        return JournalError(
            f"{self._path}: {error.strerror or error}; {len(self.done)} finished measurements are kept: "
            "make room or name another --output, and run the same command again"
        )


def _measured(entry: Mapping[str, Any]) -> Measured:
    values = dict(entry)
    values["side"] = Side(*values["side"])
    values["drafted"], values["accepted"] = tuple(values["drafted"]), tuple(values["accepted"])
    return Measured(**values)


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode() + b"\n"

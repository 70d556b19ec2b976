"""Policy versions in Redis or Valkey, over a store's connection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from router.policy_lineage import FileLine
from router.policy_protocol import (
    KEPT_VERSIONS,
    Heard,
    PastVersion,
    Place,
    PolicyChange,
    PolicyRecordError,
    PolicyVersion,
    RouterReport,
    past,
)
from router.scripts import Script, StoreConnection, load_script
from router.store_records import KeyNames

_LAYOUT = "1"
_LIVE_S = 10
_FORGOTTEN_S = 60


class RedisPolicyStore:
    """A PolicyStore in four keys: the current version, a list and the texts of the last ones, the routers."""

    def __init__(self, connection: StoreConnection, model: str) -> None:
        self._connection = connection
        key = KeyNames(model).prefix + "policy"
        self._policy, self._history, self._texts = key, f"{key}:history", f"{key}:texts"
        self._routers = f"{key}:routers"
        self._announce_script = load_script("announce_router.lua")
        self._publish_script = load_script("publish_policy.lua")

    async def announce(self, report: RouterReport) -> Heard:
        """See PolicyStore.announce."""
        told = json.dumps(report._asdict())
        line, number, publication, others, backers = await self._run(
            self._announce_script,
            [self._policy, self._routers],
            [_LAYOUT, report.id, str(report.file_number), told, str(_LIVE_S), str(_FORGOTTEN_S)],
        )
        place = Place(_decoded(line), self._number(number), _decoded(publication)) if line else None
        return Heard(place, int(others), int(backers))

    async def read(self) -> PolicyVersion | None:
        """See PolicyStore.read."""
        raw: dict[bytes, bytes] = await self._connection.command("HGETALL", self._policy)
        return self._version(raw) if raw else None

    async def publish(self, version: PolicyVersion, expected: Place | None) -> bool:
        """See PolicyStore.publish."""
        change, files = version.change, version.files
        line, number, publication = expected or Place("", 0)
        fields = {
            "line": version.place.line,
            "n": str(version.place.number),
            "id": version.place.id,
            "name": change.name,
            "origin": change.origin,
            "source": change.source,
            "author": change.author,
            "note": change.note,
            "at": repr(change.at_s),
            "files": " ".join(files.marks),
            "file_number": str(files.number),
        }
        (applied,) = await self._run(
            self._publish_script,
            [self._policy, self._history, self._texts],
            [
                _LAYOUT,
                line,
                str(number),
                publication,
                str(KEPT_VERSIONS),
                change.revision,
                change.text,
                json.dumps(past(version)._asdict()),
                *(word for field in fields.items() for word in field),
            ],
        )
        return bool(applied)

    async def history(self) -> Sequence[PastVersion]:
        """See PolicyStore.history."""
        entries: list[bytes] = await self._connection.command("LRANGE", self._history, 0, -1)
        found = (_parsed(entry.partition(b" ")[2]) for entry in entries)
        return [past for values in found if (past := _known(PastVersion, values)) is not None]

    async def text(self, revision: str) -> bytes | None:
        """See PolicyStore.text."""
        text: bytes | None = await self._connection.command("HGET", self._texts, revision)
        return text

    async def routers(self) -> Sequence[tuple[RouterReport, float]]:
        """See PolicyStore.routers."""
        entries: dict[bytes, bytes] = await self._connection.command("HGETALL", self._routers)
        now_s = int((await self._connection.command("TIME"))[0])
        found = []
        for entry in entries.values():
            at, _, rest = entry.partition(b" ")
            report = _known(RouterReport, _parsed(rest.partition(b" ")[2]))
            if report is not None and at.isdigit() and (age_s := max(0.0, now_s - float(at))) <= _LIVE_S:
                found.append((report, age_s))
        return sorted(found)

    async def leave(self, router_id: str) -> None:
        """See PolicyStore.leave."""
        await self._connection.command("HDEL", self._routers, router_id)

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Any:
        layout, *reply = await self._connection.run_script(script, keys, arguments)
        if layout:
            raise self._layout_error(layout)
        return reply

    def _layout_error(self, layout: bytes) -> PolicyRecordError:
        told = _decoded(layout)
        return PolicyRecordError(
            f"the policy stored under {self._policy} has layout {told}, known is {_LAYOUT}: "
            "a different version of specroute wrote it, or it is damaged"
        )

    def _number(self, stored: bytes) -> int:
        try:
            return int(stored)
        except ValueError:
            problem = f"the policy stored under {self._policy} is damaged: its number is {stored[:32]!r}"
            raise PolicyRecordError(problem) from None

    def _version(self, raw: Mapping[bytes, bytes]) -> PolicyVersion:
        if (layout := raw.get(b"v", b"missing")) != _LAYOUT.encode():
            raise self._layout_error(layout)
        fields = {_decoded(name): _decoded(value) for name, value in raw.items() if name != b"text"}
        try:
            return PolicyVersion(
                Place(fields["line"], int(fields["n"]), fields["id"]),
                PolicyChange(
                    name=fields["name"],
                    revision=fields["revision"],
                    text=raw[b"text"],
                    origin=fields["origin"],
                    source=fields["source"],
                    author=fields["author"],
                    note=fields["note"],
                    at_s=float(fields["at"]),
                ),
                FileLine(tuple(fields["files"].split()), int(fields["file_number"])),
            )
        except (KeyError, ValueError) as error:
            problem = f"the policy stored under {self._policy} is damaged: {error!r}"
            raise PolicyRecordError(problem) from None


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _parsed(text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _known(kind: Any, values: object) -> Any:
    """The named tuple, without fields that a newer version added; None for garbage."""
    if not isinstance(values, dict) or not values.keys() >= set(kind._fields):
        return None
    return kind(**{name: values[name] for name in kind._fields})

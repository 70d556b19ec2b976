"""vLLM's own metrics beside ours on `GET /metrics`: asked of every engine when they are scraped."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Final, NamedTuple

from replicas.frames import Call
from router.pool_state import PoolState
from router.pools import Pools

_log = logging.getLogger(__name__)

_LIMIT_S: Final = 3.0
"""An engine that is slower is left out: a scrape is given up after 10 s, and ours must not be lost."""
_FAMILY: Final = re.compile(rb"^(?=# HELP )", re.MULTILINE)
_NAME: Final = re.compile(rb"# HELP (vllm:\S+) ")
_SAMPLE: Final = re.compile(rb"^(vllm:\w+)(?:\{([^\n]*)\})? ", re.MULTILINE)


class _Page(NamedTuple):
    """What an engine's `/metrics` shows."""

    profile: str
    replica: str
    text: bytes


class EngineMetrics:
    """Plays a `GET /metrics` to vLLM's app in every replica that was heard of in the last seconds."""

    def __init__(self, pools: Pools, limit_s: float = _LIMIT_S) -> None:
        self._pools = pools
        self._limit_s = limit_s

    async def exposition(self) -> bytes:
        """The metrics of all engines that answer, each with the labels `profile` and `replica` more."""
        asked = [
            self._page(state, replica)
            for state in self._pools
            if state.available
            for replica in (sorted(state.reported) if state.engines > 1 else [""])
        ]
        pages = await asyncio.gather(*asked)
        # A replica that is gone since may have been answered for by another.
        return _together({page.replica: page for page in pages if page is not None}.values())

    async def _page(self, state: PoolState, replica: str) -> _Page | None:
        """What one replica tells, None if it cannot: a scrape must not fail for it."""
        call = Call(request_id="metrics", path="/metrics", body=b"", k=0)
        parts: list[bytes] = []
        try:
            async with (
                asyncio.timeout(self._limit_s),
                aclosing(state.client.serve(call, replica)) as frames,
            ):
                async for frame in frames:
                    if frame.status not in {0, HTTPStatus.OK}:
                        return None  # a fake engine has no metrics
                    replica = frame.replica or replica
                    parts.append(frame.data)
        except Exception as error:  # noqa: BLE001 - see above
            _log.debug("no metrics of pool %s: %s", state.profile.name, error)
            return None
        return _Page(state.profile.name, replica, b"".join(parts))


def _together(pages: Iterable[_Page]) -> bytes:
    """One exposition of several: a family's samples must stand together, under one head."""
    heads: dict[bytes, bytes] = {}
    samples: dict[bytes, list[bytes]] = {}
    for page in pages:
        for name, family in _families(page.text).items():
            head, found = _parted(family)
            heads.setdefault(name, head)
            samples.setdefault(name, []).append(_labelled(found, page))
    return b"".join(heads[name] + b"".join(samples[name]) for name in heads)


def _families(text: bytes) -> Mapping[bytes, bytes]:
    """VLLM's families by name; what else a process tells is left out."""
    return {match[1]: part for part in _FAMILY.split(text) if (match := _NAME.match(part))}


def _parted(family: bytes) -> tuple[bytes, bytes]:
    lines = family.splitlines(keepends=True)
    return (
        b"".join(line for line in lines if line.startswith(b"#")),
        b"".join(line for line in lines if not line.startswith(b"#")),
    )


def _labelled(samples: bytes, page: _Page) -> bytes:
    more = f'profile="{page.profile}",replica="{page.replica}"'.encode()

    def label(match: re.Match[bytes]) -> bytes:
        own = b"," + match[2] if match[2] else b""
        return match[1] + b"{" + more + own + b"} "

    return _SAMPLE.sub(label, samples)

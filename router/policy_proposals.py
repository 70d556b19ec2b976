"""What a router should publish by itself: its file where that is news, or a version that the store lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from router.policy_lineage import FileLine, Standing, standing
from router.policy_protocol import Heard, Place, PolicyChange, PolicyVersion
from router.policy_source import PolicySource


class Proposals:
    """Knows where this router's file stands among the published ones, and when its turn has come.

    `timer` is monotonic seconds; `clock` is only for the times people are shown.
    """

    def __init__(
        self,
        source: PolicySource,
        *,
        alone: bool,
        abandoned_after_s: float,
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self._source = source
        self._alone = alone
        self._abandoned_after_s = abandoned_after_s
        self._clock = clock
        self._timer = timer
        self._standing: Standing | None = None
        self._abandoned_since_s: float | None = None

    @property
    def file_number(self) -> int:
        """The number of this router's file among the published ones, 0 while it is not known."""
        return self._standing.number if self._standing else 0

    def due(
        self, known: PolicyVersion | None, current: PolicyVersion | None, heard: Heard
    ) -> PolicyVersion | None:
        """What to publish now, to take the place of `current`; None when everything is in order.

        Args:
            known: The current version when the store was last asked.
            current: What it is now; None when the store has none.
            heard: Of the other routers.
        """
        if (lost := _lost(known, current)) is not None:
            return lost
        if self._source.file_policy is None:
            return None
        is_news = self._notice(current, is_alone=self._alone or not heard.others)
        if is_news or self._is_abandoned(current, heard):
            return self._file_version(current)
        return None

    def is_news(self, current: PolicyVersion | None) -> bool:
        """Whether the file is news to the store, as far as is known while the store is away."""
        return self._notice(current, is_alone=True)

    def _notice(self, current: PolicyVersion | None, *, is_alone: bool) -> bool:
        file = self._source.file_policy
        if file is None:
            return False
        line = current.files if current else FileLine()
        stands = standing(line, self._source.file.mark(file), self._standing, alone=is_alone)
        if stands is None:
            return True
        self._standing = stands
        return False

    def _is_abandoned(self, current: PolicyVersion | None, heard: Heard) -> bool:
        """Whether no router, this one included, has seen the file that was published last for a while."""
        if current is None or self.file_number == current.files.number or heard.backers:
            self._abandoned_since_s = None
            return False
        now_s = self._timer()
        if self._abandoned_since_s is None:
            self._abandoned_since_s = now_s
        return self._alone or now_s - self._abandoned_since_s >= self._abandoned_after_s

    def _file_version(self, current: PolicyVersion | None) -> PolicyVersion | None:
        file = self._source.file_policy
        if file is None:
            return None
        change = PolicyChange(
            name=file.name,
            revision=file.revision,
            text=file.text,
            origin="file" if self._source.file.path else "preset",
            source=file.source,
            at_s=self._clock(),
        )
        line = current.files if current else FileLine()
        return next_version(current, change, line.followed_by(self._source.file.mark(file)))


def next_version(current: PolicyVersion | None, change: PolicyChange, files: FileLine) -> PolicyVersion:
    """The version after `current`, or the first one of a new line."""
    line, number, _ = current.place if current else Place(uuid4().hex, 0)
    return PolicyVersion(Place(line, number + 1, uuid4().hex), change, files)


def _lost(known: PolicyVersion | None, current: PolicyVersion | None) -> PolicyVersion | None:
    """What to give back to a store that was flushed, or restarted from an older state."""
    if known is None:
        return None
    if current is None:
        return replace(known, place=Place(uuid4().hex, known.place.number, uuid4().hex))
    if current.place.line == known.place.line and current.place.number < known.place.number:
        # A line of its own, because others may have counted further than was seen here.
        return replace(known, place=Place(uuid4().hex, known.place.number + 1, uuid4().hex))
    return None

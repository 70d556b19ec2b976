"""A PolicyStore in memory, with the faults of a real one, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from router.policy_protocol import (
    KEPT_VERSIONS,
    Heard,
    PastVersion,
    Place,
    PolicyRecordError,
    PolicyVersion,
    RouterReport,
    past,
)
from router.stats_protocol import StoreUnavailableError

_LIVE_S = 10


class FakePolicyStore:
    """Behaves as RedisPolicyStore does, without Redis.

    Attributes:
        down: Every call fails.
        lose_replies: How many of the next publications are applied but answered with a failure.
        foreign: A version of specroute with another layout wrote the policy.
        meanwhile: Called once, before the next publication: what another router does just then.
    """

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.down = False
        self.lose_replies = 0
        self.foreign = False
        self.meanwhile: Callable[[], None] | None = None
        self._clock = clock
        self.wipe()

    def wipe(self) -> None:
        """Lose everything, as FLUSHALL does."""
        self.current: PolicyVersion | None = None
        self._versions: list[PolicyVersion] = []
        self._reports: dict[str, tuple[RouterReport, float]] = {}

    def put(self, version: PolicyVersion) -> None:
        """Another router publishes."""
        self.current = version
        self._versions = [version, *self._versions][:KEPT_VERSIONS]

    async def announce(self, report: RouterReport) -> Heard:
        """See PolicyStore.announce."""
        self._answer()
        self._reports[report.id] = (report, self._clock())
        others = [told for told, _ in await self.routers() if told.id != report.id]
        last = self.current.files.number if self.current else None
        backers = sum(told.file_number == last for told in others)
        return Heard(self.current.place if self.current else None, len(others), backers)

    async def read(self) -> PolicyVersion | None:
        """See PolicyStore.read."""
        self._answer()
        return self.current

    async def publish(self, version: PolicyVersion, expected: Place | None) -> bool:
        """See PolicyStore.publish."""
        self._answer()
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        if (self.current.place if self.current else None) != expected:
            return False
        self.put(version)
        if self.lose_replies:
            self.lose_replies -= 1
            raise StoreUnavailableError("the fake store lost its reply")
        return True

    async def history(self) -> Sequence[PastVersion]:
        """See PolicyStore.history."""
        self._answer()
        return [past(version) for version in self._versions]

    async def text(self, revision: str) -> bytes | None:
        """See PolicyStore.text."""
        self._answer()
        return next((one.change.text for one in self._versions if one.change.revision == revision), None)

    async def routers(self) -> Sequence[tuple[RouterReport, float]]:
        """See PolicyStore.routers."""
        self._answer()
        now_s = self._clock()
        told = ((report, now_s - at_s) for report, at_s in self._reports.values())
        return sorted((report, age_s) for report, age_s in told if age_s <= _LIVE_S)

    async def leave(self, router_id: str) -> None:
        """See PolicyStore.leave."""
        self._answer()
        self._reports.pop(router_id, None)

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailableError("the fake store is down")
        if self.foreign:
            raise PolicyRecordError("the policy stored has layout 2, known is 1")

"""Which replica of a pool gets a request: the one that holds its conversation, else the idler of two.

Only the request router that Ray Serve runs inside a deployment handle may choose a replica, so this module is
loaded by every process that holds a handle of a pool.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from ray.serve.request_router import LocalityMixin, PendingRequest, RequestRouter, RunningReplica

_SEPARATOR: Final = ","
_ONLY: Final = "!"


def place(home: str, avoid: Collection[str] = (), *, only: bool = False) -> str:
    """The `session_id` of a request for the replica `home` (empty: any), and none of those in `avoid`.

    With `only`, no other gets it while that one is there.
    """
    return _SEPARATOR.join((_ONLY * only + home, *sorted(avoid)))


class _Wishes(NamedTuple):
    """What `place` was told."""

    home: str
    avoided: frozenset[str]
    only: bool


def _wishes(session_id: str) -> _Wishes:
    home, *avoided = session_id.split(_SEPARATOR)
    return _Wishes(home.removeprefix(_ONLY), frozenset(avoided), home.startswith(_ONLY))


def _without(replicas: list[RunningReplica], avoided: frozenset[str]) -> list[RunningReplica]:
    return [replica for replica in replicas if replica.replica_id.unique_id not in avoided]


class HomeFirst(LocalityMixin, RequestRouter):
    """Power of two choices, but for requests whose `session_id` names the replica that is their home.

    While the home has a free slot it is tried first: a prefix that need not be read again is worth more than
    a somewhat emptier batch. Beyond its slots requests wait there, and a wait soon takes longer than reading
    a prefix, so then the home is merely one of the two choices, of which the shorter queue gets the request.
    A home that is gone, or refuses, is like none. Replicas that are to be avoided (`place`) are asked only
    when there are no others.

    Consistent hashing of a conversation's name would need no memory of who answered, but it would place first
    turns, and everything that is not a conversation, by chance: no longer by load. Here they go where there
    is room, and only what came of that is kept.

    Serve's default router hands a replica to whichever request has waited longest, which would swap homes
    among requests that arrive together. Without its `FIFOMixin` a replica goes to the request it was chosen
    for, and the order is that of arrival only about.
    """

    _slots: float = float("inf")

    def initialize_state(self, **kwargs: Any) -> None:
        """Serve calls this with the deployment's `request_router_kwargs`.

        `slots` is how many requests a replica decodes at once.
        """
        self._slots = kwargs["slots"]

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Groups of replicas to ask one after the other; within a group the shortest queue wins."""
        replicas = self.curr_replicas
        # Named replicas may have gone since, and the mixin narrows the first attempt to those nearby.
        near = [replicas[name] for name in self.apply_locality_routing(pending_request) if name in replicas]
        home_id, avoided, only = _wishes(
            pending_request.metadata.session_id if pending_request is not None else ""
        )
        if avoided:
            near = _without(near, avoided) or _without(list(replicas.values()), avoided) or near
        two = random.sample(near, min(2, len(near)))
        home = self._found(candidate_replicas, home_id) if home_id and home_id not in avoided else None
        if home is None:
            return [two]
        if only:
            return [[home]]
        if self._has_slot(home):
            return [[home], two]
        return [[home, *(replica for replica in two if replica is not home)][:2]]

    def _found(self, replicas: list[RunningReplica], home_id: str) -> RunningReplica | None:
        return next((replica for replica in replicas if replica.replica_id.unique_id == home_id), None)

    def _has_slot(self, replica: RunningReplica) -> bool:
        """Unless its queue is known to be as long as its slots are many."""
        waiting = self.replica_queue_len_cache.get(replica.replica_id)
        return waiting is None or waiting < self._slots

"""What Ray Serve's errors say of a replica."""

from __future__ import annotations

import pickle

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve.exceptions import BackPressureError

from replicas.frames import ReplicaBusyError, ReplicaError
from router.serve_pools import _translated

pytestmark = pytest.mark.unit


def task_error(cause: Exception) -> RayTaskError:
    """As it comes out of another process."""
    error = RayTaskError("serve", "Traceback …\nlast line", cause)
    found = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert isinstance(found, RayTaskError)
    return found


def test_a_replica_whose_engine_is_gone_tells_its_name() -> None:
    """It raises the error itself, with its name in it."""
    found = _translated(task_error(ReplicaError("the engine core has ended", replica="a1")))
    assert isinstance(found, ReplicaError)
    assert (found.replica, found.process) == ("a1", "")


def test_a_dead_replica_is_known_by_its_actor() -> None:
    """The process said nothing; Ray knows which it was."""
    actor = bytes(range(16))
    found = _translated(ActorUnavailableError("gone", actor))
    assert isinstance(found, ReplicaError)
    assert (found.replica, found.process) == ("", actor.hex())
    unknown = _translated(ActorDiedError())
    assert isinstance(unknown, ReplicaError)
    assert (unknown.replica, unknown.process) == ("", "")


def test_a_full_queue_and_a_bug_are_no_deaths() -> None:
    """One is for the client to hear, the other for the log: another replica would make it too."""
    assert isinstance(
        _translated(BackPressureError(num_queued_requests=1, max_queued_requests=1)), ReplicaBusyError
    )
    bug = task_error(KeyError("x"))
    assert _translated(bug) is bug

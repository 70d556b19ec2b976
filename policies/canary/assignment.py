"""Who is decided by the candidate: the same answer on every router, after every restart."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

TENANT_GROUPS: Final = 32
"""Tenants are counted in so many groups, however many there are."""

_DIGEST_BYTES: Final = 8
_SPAN: Final = 2.0 ** (8 * _DIGEST_BYTES)
_ASSIGN: Final = b"canary-assign"
_GROUP: Final = b"canary-group"


def assigned(unit: str, revision: str, share: float) -> bool:
    """Whether the request or tenant `unit` belongs to the `share` in [0, 1] that a candidate decides.

    A digest of the unit, keyed by the candidate's revision, is uniform over units and independent from one
    revision to the next, so that not always the same tenants go first. Who belongs to a share belongs to
    every larger one.
    """
    return _digest(unit, revision.encode(), _ASSIGN) / _SPAN < share


def tenant_group(tenant: str) -> int:
    """The group, from 0, that a tenant's requests are counted in."""
    return _digest(tenant, b"", _GROUP) % TENANT_GROUPS


def _digest(unit: str, key: bytes, purpose: bytes) -> int:
    data = unit.encode("utf-8", "surrogatepass")
    digest = blake2b(data, key=key[: blake2b.MAX_KEY_SIZE], person=purpose, digest_size=_DIGEST_BYTES)
    return int.from_bytes(digest.digest(), "big")

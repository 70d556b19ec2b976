"""Whose request it is: the tenant an API key belongs to, or the one a trusted header names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from router.errors import BadRequestError, InvalidKeyError, NotAllowedError
from router.key_file import KeyFile
from router.requests import ANONYMOUS, TENANT_NAME

TENANT_HEADER: Final = "x-specroute-tenant"
_FORBIDDEN: Final = 403


class Tenancy:
    """Tells tenants apart, by rules that do not depend on who asks for what.

    1. A key that is known says whose the request is. Beside it, `X-Specroute-Tenant` may at most repeat
       that: naming another tenant is refused (403), whether or not the header is trusted.
    2. A key that nobody has is refused (401), also where anonymous requests are allowed and where the header
       is trusted: a key that was taken back must not go on as somebody else.
    3. Without a key the header counts where it is trusted.
    4. Who then still has no name is `anonymous`, where there are no keys or `anonymous` is allowed; else
       refused (401).

    Without a keys file keys mean nothing, since clients of OpenAI's API always send one.
    """

    def __init__(
        self, keys: KeyFile | None = None, *, trusted_header: bool = False, anonymous: bool = False
    ) -> None:
        self._keys = keys
        self._trusted_header = trusted_header
        self._anonymous = anonymous or keys is None

    @property
    def keys(self) -> KeyFile | None:
        """The keys, None where the deployment names no file."""
        return self._keys

    def tenant(self, headers: Mapping[str, str]) -> str:
        """The tenant of a request; `headers` have lower-case names.

        Raises:
            InvalidKeyError: There is no key, or nobody has it.
            NotAllowedError: The header names another tenant than the key's.
            BadRequestError: The header holds no name.
        """
        key = None if self._keys is None else _presented(headers.get("authorization", ""))
        named = headers.get(TENANT_HEADER, "")
        if self._keys is not None and key is not None:
            return self._owner(self._keys, key, named)
        if self._trusted_header and named:
            if not TENANT_NAME.fullmatch(named):
                raise BadRequestError(
                    "header X-Specroute-Tenant: use 1 to 64 of A-Z a-z 0-9 . _ -", param="X-Specroute-Tenant"
                )
            return named
        if not self._anonymous:
            raise InvalidKeyError("no API key: send one as  Authorization: Bearer <key>")
        return ANONYMOUS

    def _owner(self, keys: KeyFile, key: bytes, named: str) -> str:
        owner = keys.table.owner(key)
        if owner is None:
            raise InvalidKeyError("incorrect API key: ask the operator of this service for a valid one")
        if named not in {"", owner.tenant}:
            raise NotAllowedError(
                "header X-Specroute-Tenant names another tenant than the API key's: leave it out",
                param="X-Specroute-Tenant",
                status=_FORBIDDEN,
            )
        return owner.tenant


def _presented(authorization: str) -> bytes | None:
    """The key as it came, None without one. Raises InvalidKeyError for credentials of another kind."""
    scheme, _, key = authorization.strip().partition(" ")
    if scheme and scheme.lower() != "bearer":
        raise InvalidKeyError("header Authorization: expected  Bearer <key>")
    # A header need not be valid UTF-8; Starlette gives its bytes as Latin-1.
    return key.strip().encode("latin-1", "replace") or None

"""Keeps tenants apart in the prefix cache of an engine.

vLLM finds blocks by a hash over their tokens, all tokens before them, and the salt. Who sends a guess of
another's prompt could tell by the time to first token, and by `usage.prompt_tokens_details.cached_tokens`,
whether that was sent before. Under salts of their own tenants find none but their own prompts.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

_BYTES: Final = 16
_PURPOSE: Final = b"specroute-salt"


def salt_of(tenant: str) -> str:
    """The salt of a tenant's requests: 32 hexadecimal digits, the same on every router and after restarts.

    It is no secret and needs no key: nobody but the router sets salts (`salted`), so that knowing another
    tenant's is of no use. It is a hash so that names do not show where engines export their cache's events.
    """
    return _digest(tenant)


def salted(prompt: Any, salt: str) -> Any:
    """An engine's input under a salt.

    A client's own salt goes into it: a tenant that is a gateway may keep its users apart. Both together are
    hashed, and a tenant's salt has a constant length, so that no two tenants ever have the same. Without
    `salt` nothing changes.
    """
    if not salt:
        return prompt
    own = prompt.get("cache_salt")
    return {**prompt, "cache_salt": _digest(salt + own) if own else salt}


def _digest(text: str) -> str:
    # JSON can hold halves of characters, which are no UTF-8.
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES, person=_PURPOSE).hexdigest()

"""API keys: the tenant a key belongs to, known by the SHA-256 of the key alone.

A keys file is a YAML mapping, one key a line, several for a tenant while they are being rotated:

    sha256:9b1f…: acme
    sha256:57e0…: {tenant: acme, label: "backend, from November"}

Nothing here shows a line's content in an error: people paste keys where their hash belongs.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from policies.problems import PolicyError
from policies.yaml_tree import Position, read_tree
from router.requests import ANONYMOUS, TENANT_NAME

MAX_KEYS: Final = 10_000
MAX_LABEL: Final = 80
KEY_PREFIX: Final = "sk-specroute-"
"""Starts every key made here: clients that ask for `sk-` take it, scanners for leaked secrets find it."""

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
_EXAMPLE = "a line is  sha256:<64 hex digits>: <tenant>  (specroute keys new TENANT prints one)"


class KeysError(ValueError):
    """A keys file that cannot be used; its text is one line per problem, without anything of the file."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose key it is, and what its label says of it."""

    tenant: str
    label: str = ""


class KeyTable:
    """Finds the owner of a presented key.

    Comparing takes no care of its own and still leaks nothing by its timing: what is looked up is the
    SHA-256 of the presented key. How long a lookup takes can depend on how much of that digest agrees with a
    stored one, but a caller cannot choose digests, only keys, and would have to find preimages to go on from
    a partly right digest. Even a whole digest is not the key. (This is what makes `hmac.compare_digest`
    necessary for a secret that is compared as it is, such as the admin token.) It takes keys that cannot be
    guessed, as `new_key` makes them: digests are not salted, so short ones could be tried out by whoever gets
    the file.
    """

    def __init__(self, owners: Mapping[bytes, KeyOwner]) -> None:
        """Take owners by the SHA-256 digests of their keys."""
        self._owners = dict(owners)
        self.tenants = frozenset(owner.tenant for owner in self._owners.values())

    def owner(self, key: bytes) -> KeyOwner | None:
        """The owner of a key, None where nobody has it."""
        return self._owners.get(sha256(key).digest())

    def entries(self) -> list[dict[str, str]]:
        """Every key for operators: tenant, label, and enough of its digest to find its line."""
        entries = [
            {"tenant": owner.tenant, "label": owner.label, "sha256": f"{digest.hex()[:8]}…"}
            for digest, owner in self._owners.items()
        ]
        return sorted(entries, key=lambda entry: (entry["tenant"], entry["label"], entry["sha256"]))

    def __len__(self) -> int:
        return len(self._owners)

    def __repr__(self) -> str:
        return f"KeyTable({len(self)} keys of {len(self.tenants)} tenants)"


def parse_keys(text: bytes | str, source: str) -> KeyTable:
    """The keys a file names; `{}` is a file without any.

    Args:
        text: The file's content.
        source: What to call the file in problems.

    Raises:
        KeysError: With every problem found.
    """
    try:
        tree = read_tree(text, source)
    except PolicyError as error:
        raise KeysError(_unreadable(error)) from None
    problems = list(_unreadable(PolicyError(tree.problems)))
    if len(tree.values) > MAX_KEYS:
        problems.append(f"{source}: {len(tree.values)} keys are too many; at most {MAX_KEYS}")
    owners: dict[bytes, KeyOwner] = {}
    for name, value in tree.values.items():
        at = _place(source, tree.positions[(name,)])
        found = _DIGEST.fullmatch(name)
        if found is None:
            problems.append(f"{at}: not the SHA-256 of a key (not shown, it may be a key); {_EXAMPLE}")
            continue
        digest = bytes.fromhex(found[1])
        if digest in owners:
            problems.append(f"{at}: this key stands here twice")
        owner = _owner(value)
        if isinstance(owner, str):
            problems.append(f"{at}: {owner}")
        else:
            owners[digest] = owner
    if problems:
        raise KeysError(problems)
    return KeyTable(owners)


def new_key() -> str:
    """A key with 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def file_line(key: str, tenant: str, label: str = "") -> str:
    """The line of a keys file for a key.

    Raises:
        KeysError: The tenant or the label cannot stand there.
    """
    value = {"tenant": tenant, "label": label} if label else tenant
    owner = _owner(value)
    if isinstance(owner, str):
        raise KeysError([owner])
    name = f"sha256:{sha256(key.encode()).hexdigest()}"
    if not label:
        return f"{name}: {json.dumps(tenant)}"
    return f"{name}: {{tenant: {json.dumps(tenant)}, label: {json.dumps(label, ensure_ascii=False)}}}"


def _owner(value: object) -> KeyOwner | str:
    """The owner a line names, or what is wrong with it."""
    fields = {"tenant": value} if isinstance(value, str) else value
    if not isinstance(fields, dict) or not {"tenant"} <= fields.keys() <= {"tenant", "label"}:
        return f"behind the key stands its tenant, or {{tenant: …, label: …}}; {_EXAMPLE}"
    tenant, label = fields["tenant"], fields.get("label", "")
    if not isinstance(tenant, str) or not TENANT_NAME.fullmatch(tenant):
        return "tenant: use 1 to 64 of A-Z a-z 0-9 . _ - (in quotes where it looks like a number)"
    if tenant == ANONYMOUS:
        return f"tenant: {ANONYMOUS} is the name of those without a key; choose another"
    if not isinstance(label, str) or len(label) > MAX_LABEL or not label.isprintable():
        return f"label: use up to {MAX_LABEL} printable characters"
    return KeyOwner(tenant, label)


def _unreadable(error: PolicyError) -> Iterator[str]:
    """Where YAML could not be read. Its own words quote the text, so they are left out."""
    for problem in error.problems:
        at = _place(problem.source, Position(problem.line, problem.column))
        twice = problem.message == "duplicate key"
        yield f"{at}: " + ("this key stands here twice" if twice else f"cannot be read; {_EXAMPLE}")


def _place(source: str, position: Position) -> str:
    return f"{source}:{position.line}:{position.column}"

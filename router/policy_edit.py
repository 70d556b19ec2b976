"""Changes the mode in a policy's text and leaves everything else, comments included, as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from policies.base import Mode
from policies.loading import PolicyError
from policies.yaml_edit import with_values
from policies.yaml_tree import read_tree

_MODE: Final = "mode"
_SPEC: Final = "spec"


class EditError(ValueError):
    """The text cannot be changed safely; the message says what to do instead."""


def with_mode(text: str, mode: Mode) -> str:
    """The policy text with this `spec.mode`; the key is added where it is missing.

    The result is read again: it differs from the text in this one value, or it is not returned.

    Raises:
        EditError: The text is no policy, or is written in a way that cannot be edited.
    """
    before = _values(text)
    spec = before.get(_SPEC) if before else None
    if before is None or not isinstance(spec, Mapping):
        raise EditError("the policy cannot be edited: it is not valid, or has no spec")
    edited = with_values(text, [_SPEC], {_MODE: mode})
    if _values(edited) != {**before, _SPEC: {**spec, _MODE: mode}}:
        raise EditError(
            f"the policy is written in an unusual way: set spec.mode: {mode} in its text yourself"
        )
    return edited


def _values(text: str) -> Mapping[str, object] | None:
    """What the text says, None where it has problems."""
    try:
        tree = read_tree(text, "policy")
    except PolicyError:
        return None
    return None if tree.problems else tree.values

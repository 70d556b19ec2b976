"""What the ready screen says of the policy in force."""

from collections.abc import Mapping
from typing import Any

import pytest

from router.admin_client import AdminClient, AdminError, Answer
from router.serving.screen import _policy_words

pytestmark = pytest.mark.unit

STATE = {"name": "p", "revision": "0123456789ab", "version": 7}
FILE = {"path": "/p.yaml", "in_force": True}
OTHER = {"path": "/p.yaml", "in_force": False}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({**STATE, "origin": "preset", "file": {"path": None}}, "p@0123456789ab (built in"),
        ({**STATE, "origin": "file", "file": FILE}, "p@0123456789ab (/p.yaml)"),
        ({**STATE, "origin": "put", "file": OTHER}, "p@0123456789ab (version 7, by put;"),
        ({"error": {"message": "internal error"}}, "see http://host/admin/v1/policy"),
    ],
)
def test_the_policy_in_force_is_named(
    monkeypatch: pytest.MonkeyPatch, state: Mapping[str, Any], words: str
) -> None:
    """Not the file's, where another was put before."""
    monkeypatch.setattr(AdminClient, "call", lambda *_: Answer(200, "", state))
    assert _policy_words("http://host").startswith(words)


def test_a_closed_admin_api_hinders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The screen says where to look."""

    def closed(*_: object) -> Answer:
        raise AdminError("closed")

    monkeypatch.setattr(AdminClient, "call", closed)
    assert _policy_words("http://host") == "see http://host/admin/v1/policy"

"""Policies that are not in force: what they would change, and the text with another mode."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from app_client import error_of
from fakes import Harness, policy_text
from starlette.applications import Starlette

from router.admin_policy_draft import PolicyDrafts
from router.api import _api_error
from router.errors import ApiError
from router.policy_changes import PolicyChanges
from router.policy_sync import PolicySync

pytestmark = pytest.mark.unit

DIFF, EDIT = "/admin/v1/policy/diff", "/admin/v1/policy/edit"


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


@pytest.fixture
async def client(harness: Harness) -> AsyncIterator[httpx.AsyncClient]:
    drafts = PolicyDrafts(harness.policies, PolicyChanges(PolicySync(harness.policies)))
    app = Starlette(routes=drafts.routes(lambda handler: handler), exception_handlers={ApiError: _api_error})
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1"
    ) as client:
        yield client


async def test_what_a_text_would_change_for_whom(client: httpx.AsyncClient, harness: Harness) -> None:
    """In words and as values, against the revision in force; nothing is put in force."""
    before = harness.policies.state
    wanted = policy_text(mode="threshold", tasks={"creative": {"k": {"max": 2}}})
    body = (await client.post(DIFF, content=wanted)).raise_for_status().json()
    assert (body["name"], body["replacing"], body["more"]) == ("test", before.revision, 0)
    told = {(one["who"], one["path"]): one["change"] for one in body["changes"]}
    assert told["everyone", "mode"] == "always_speculative → threshold"
    assert told["task creative", "k.max"].endswith("→ 2")
    assert harness.policies.state == before


async def test_the_same_text_changes_nothing(client: httpx.AsyncClient, harness: Harness) -> None:
    """An empty list, and the same revision."""
    body = (await client.post(DIFF, content=harness.policies.state.text)).raise_for_status().json()
    assert body["changes"] == []
    assert body["revision"] == body["replacing"]


async def test_a_text_that_is_no_policy(client: httpx.AsyncClient) -> None:
    """Every problem with its place, as validation tells it."""
    response = await client.post(DIFF, content=policy_text(mod="adaptive"))
    assert response.status_code == 422
    body = response.json()
    assert body["valid"] is False
    assert body["problems"][0]["path"] == "spec.mod"
    assert body["problems"][0]["line"] == 1


async def test_another_mode_and_nothing_else(client: httpx.AsyncClient, harness: Harness) -> None:
    """Comments stay; `replacing` is what If-Match should say."""
    harness.policy_file.write_text("# ours\n" + policy_text())
    harness.policies.reload()
    body = (await client.post(EDIT, json={"mode": "always_vanilla"})).raise_for_status().json()
    assert body["text"] == "# ours\n" + policy_text().replace('"always_speculative"', "always_vanilla")
    assert body["replacing"] == harness.policies.state.revision
    assert harness.policies.policy.spec.mode == "always_speculative"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "body: expected"),
        (b'{"mode": "always_vanilla", "k": 1}', "body: expected"),
        (b'["always_vanilla"]', "body: expected"),
        (b'{"mode": "always_vanila"}', "always_vanilla"),
        (b'{"mode": 1}', "mode: unknown mode"),
    ],
)
async def test_edits_that_are_none(client: httpx.AsyncClient, body: bytes, named: str) -> None:
    """The error names what is wrong."""
    assert named in error_of(await client.post(EDIT, content=body), 400)["message"]

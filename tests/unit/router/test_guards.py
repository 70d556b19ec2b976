"""Who is let into the admin API and the metrics."""

from pathlib import Path

import pytest
from app_client import client_of, error_of
from fakes import Harness
from hypothesis import given
from hypothesis import strategies as st

from router.errors import NotAllowedError
from router.guards import OperatorGuard

pytestmark = pytest.mark.unit

LOCAL = {"host": "127.0.0.1:8000"}
NAMES = st.sampled_from(
    ["host", "origin", "authorization", "x-forwarded-for", "forwarded", "x-real-ip", "via", "x-admin"]
)
VALUES = st.sampled_from(["127.0.0.1", "localhost", "::1", "Bearer ", "Bearer sesame", "for=127.0.0.1"]) | (
    st.text(max_size=30)
)


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(tmp_path).ready()


def lets_in(guard: OperatorGuard, headers: dict[str, str]) -> bool:
    try:
        guard.check_admin(headers)
    except NotAllowedError:
        return False
    return True


@given(st.dictionaries(NAMES, VALUES))
def test_no_header_opens_what_is_closed(headers: dict[str, str]) -> None:
    """Neither a forwarded address of this machine nor anything else, where there is no token and no loopback."""
    guard = OperatorGuard(admin_token=None, open_admin=False)
    assert not lets_in(guard, headers)
    with pytest.raises(NotAllowedError):
        guard.check_metrics(headers)


@given(st.dictionaries(NAMES, VALUES))
def test_only_the_token_opens_what_has_one(headers: dict[str, str]) -> None:
    """On loopback as elsewhere."""
    guard = OperatorGuard(admin_token="sesame", open_admin=True)
    given_token = headers.get("authorization", "").removeprefix("Bearer ")
    assert lets_in(guard, headers) == (given_token == "sesame")


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "localhost:8000", "[::1]:8000", "127.1.2.3"])
def test_programs_of_this_machine(host: str) -> None:
    """They are let in without a token where the service listens on loopback only."""
    assert lets_in(OperatorGuard(admin_token=None, open_admin=True), {"host": host})


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example:8000"},
        {"host": "localhost.evil.example"},
        {"host": "[127.0.0.1"},
        {"host": "10.0.0.1"},
        {"host": ""},
        {},
        {**LOCAL, "origin": "https://evil.example"},
        {**LOCAL, "origin": "null"},
        {**LOCAL, "origin": "http://[bad"},
        {**LOCAL, "x-forwarded-for": "127.0.0.1"},
        {**LOCAL, "forwarded": "for=127.0.0.1"},
        {**LOCAL, "via": "1.1 gateway"},
        {**LOCAL, "x-real-ip": "127.0.0.1"},
    ],
)
def test_who_only_seems_to_be_of_this_machine(headers: dict[str, str]) -> None:
    """Web pages in a browser here, and callers behind a proxy here, are not."""
    guard = OperatorGuard(admin_token=None, open_admin=True)
    assert not lets_in(guard, headers)
    with pytest.raises(NotAllowedError):
        guard.check_metrics(headers)


def test_a_page_of_the_services_own() -> None:
    """Its origin is this machine."""
    guard = OperatorGuard(admin_token=None, open_admin=True)
    assert lets_in(guard, {**LOCAL, "origin": "http://127.0.0.1:8000"})


@pytest.mark.parametrize(
    ("admin", "metrics", "local", "given_token", "status"),
    [
        (None, None, True, None, 200),
        (None, None, False, None, 403),
        ("a", None, True, None, 200),
        ("a", None, False, None, 401),
        ("a", None, False, "a", 200),
        (None, "m", True, None, 401),
        (None, "m", False, "m", 200),
        ("a", "m", False, "a", 200),
        ("a", "m", False, "m", 200),
        ("a", "m", True, "x", 401),
    ],
)
async def test_metrics(
    harness: Harness,
    *,
    admin: str | None,
    metrics: str | None,
    local: bool,
    given_token: str | None,
    status: int,
) -> None:
    """Open to programs of this machine until they have a token of their own; the admin token always does."""
    headers = {"Authorization": f"Bearer {given_token}"} if given_token else {}
    async with client_of(harness, token=admin, metrics_token=metrics, open_admin=local) as client:
        response = await client.get("/metrics", headers=headers)
    assert response.status_code == status
    if status != 200:
        error_of(response, status)


async def test_the_metrics_token_opens_nothing_else(harness: Harness) -> None:
    """A collector cannot read decisions or change the policy with it."""
    headers = {"Authorization": "Bearer m"}
    async with client_of(harness, token="a", metrics_token="m") as client:
        error_of(await client.get("/admin/v1/decisions", headers=headers), 401)
        error_of(await client.put("/admin/v1/policy", headers=headers, content=b"x"), 401)


async def test_every_admin_path_is_guarded(harness: Harness) -> None:
    """Whatever is mounted under /admin, now and later, needs the token, under every method."""
    async with client_of(harness, token="a") as client:
        app = client._transport.app  # type: ignore[attr-defined]
        paths = {route.path for route in app.routes if route.path.startswith("/admin")}
        assert len(paths) >= 8
        for route in app.routes:
            if route.path in paths:
                for method in route.methods - {"HEAD"}:
                    response = await client.request(method, route.path)
                    assert response.status_code == 401, (method, route.path)

"""The dashboard over HTTP: page, files, stream, and who gets them."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from app_client import error_of
from boards import Board, events
from fakes import Harness, request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from router import dashboard
from router.api import Handler, _api_error
from router.dashboard.live import _MOST_STREAMS, Live
from router.errors import ApiError
from router.guards import OperatorGuard

pytestmark = pytest.mark.unit

STATIC = Path(dashboard.__file__).with_name("static")
OWN = sorted(path for path in STATIC.iterdir() if path.suffix in {".js", ".css", ".html"})
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser")
LIVE = "/admin/v1/live"


async def no_sleep(_: float) -> None:
    """No time passes."""


def app_of(board: Board, *, token: str | None = None) -> Starlette:
    guard = OperatorGuard(admin_token=token, open_admin=True)

    def guarded(handler: Handler) -> Handler:
        async def checked(request: Request) -> Response:
            guard.check_admin(request.headers)
            return await handler(request)

        return checked

    return Starlette(routes=board.dashboard.routes(guarded), exception_handlers={ApiError: _api_error})


@pytest.fixture
async def board(tmp_path: Path) -> Board:
    harness = await Harness(tmp_path).ready()
    board = Board(harness)
    board.dashboard._live = Live(board.dashboard.state, sleep=no_sleep, life_s=4.0)
    await harness.answer(request({"x-specroute-tenant": "acme", "x-specroute-task": "code"}))
    await board.dashboard.step()
    return board


def client_of(board: Board, *, token: str | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app_of(board, token=token))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


@pytest.fixture
async def client(board: Board) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(board) as client:
        yield client


async def test_the_page_lets_nothing_else_in(client: httpx.AsyncClient) -> None:
    """No inline script or style, no other origin, no frame, no referrer, no guessed types."""
    response = await client.get("/dashboard")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


async def test_every_file_is_served_as_what_it_is(client: httpx.AsyncClient) -> None:
    """With the same headers, and not sent again to who has it."""
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    files = [path for path in STATIC.rglob("*") if path.suffix in types]
    assert len(files) > 10
    for file in files:
        path = f"/dashboard/static/{file.relative_to(STATIC)}"
        response = await client.get(path)
        assert response.content == file.read_bytes()
        assert response.headers["content-type"].startswith(types[file.suffix])
        assert response.headers["x-content-type-options"] == "nosniff"
        again = await client.get(path, headers={"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["none.js", "%2e%2e/board.py", "vendor", "", "vendor/README.md"])
async def test_nothing_beside_them_is_served(client: httpx.AsyncClient, name: str) -> None:
    """No path leads out of the folder."""
    error_of(await client.get(f"/dashboard/static/{name}"), 404)


async def test_a_slash_too_many_leads_to_the_page(client: httpx.AsyncClient) -> None:
    """By a relative redirect, which names no host and keeps a gateway's prefix."""
    response = await client.get("/dashboard/")
    assert (response.status_code, response.headers["location"]) == (308, "../dashboard")


async def test_page_and_files_need_no_token_figures_do(board: Board) -> None:
    """The page has nothing to hide; it asks for the token itself."""
    async with client_of(board, token="sesame") as client:
        assert (await client.get("/dashboard")).status_code == 200
        assert (await client.get("/dashboard/static/main.js")).status_code == 200
        error_of(await client.get(LIVE), 401)
        error_of(await client.get(LIVE, headers={"Authorization": "Bearer other"}), 401)
        assert (await client.get(LIVE, headers={"Authorization": "Bearer sesame"})).status_code == 200


async def test_the_stream_tells_states_and_new_samples(client: httpx.AsyncClient) -> None:
    """A state a round, the history where it is news, and that it ends; nobody may keep it."""
    response = await client.get(LIVE, params={"task": "code"})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    found = events(response.content)
    assert [name for name, _ in found] == ["state", "history", "state", "end"]
    assert found[0][1]["tasks"][0]["task"] == "code"
    history = found[1][1]
    assert {one["profile"] for one in history["task"]["series"]} == {"ngram", None}
    assert [one["task"] for one in history["alphas"]["series"]] == ["code"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"windw": "1h"}, "did you mean 'window'?"),
        ({"window": "2h"}, "window: '2h'"),
        ({"search": "x" * 65}, "search: at most 64"),
    ],
)
async def test_parameters_that_cannot_be_used(
    client: httpx.AsyncClient, query: dict[str, str], named: str
) -> None:
    """Are refused by name."""
    assert named in error_of(await client.get(LIVE, params=query), 400)["message"]


async def test_there_are_only_so_many_streams(board: Board) -> None:
    """One more is told to come back; ended ones make room."""
    live = board.dashboard._live
    live._open = _MOST_STREAMS
    async with client_of(board) as client:
        response = await client.get(LIVE)
        error_of(response, 503)
        assert response.headers["retry-after"]
        live._open = 0
        await client.get(LIVE)
        assert live._open == 0


@pytest.mark.parametrize("file", OWN, ids=lambda path: path.name)
def test_the_page_s_own_code(file: Path) -> None:
    """Small files that make no markup from text and name no other host."""
    text = file.read_text()
    assert text.count("\n") < 300
    assert not MARKUP.search(text)
    hosts = set(re.findall(r"https?://[\w.]+", text))
    assert hosts <= {"http://www.w3.org"}
    if file.suffix == ".html":
        assert not re.search(r"\son\w+=|style=|<style|<script>|javascript:", text)


def test_modules_import_what_there_is() -> None:
    """Every import names a file of the folder, and every file is used."""
    used = {"main.js", "theme.js", "index.html", "base.css", "parts.css"}
    for file in OWN:
        for name in re.findall(r'from "\./([\w./]+)"', file.read_text()):
            assert (STATIC / name).is_file(), f"{file.name}: {name}"
            used.add(name)
    assert {file.name for file in OWN} <= used


def test_the_vendored_library_has_its_licence() -> None:
    """Version and source stand beside it."""
    vendor = STATIC / "vendor"
    assert "MIT License" in (vendor / "LICENSE-uPlot.txt").read_text()
    readme = (vendor / "README.md").read_text()
    assert "1.6.32" in readme
    assert {path.name for path in vendor.iterdir()} == {
        "LICENSE-uPlot.txt",
        "README.md",
        "uPlot.esm.js",
        "uPlot.min.css",
    }

"""The dashboard's page and the files it is made of, served with headers that let nothing else in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from router.errors import NotFoundError

PAGE: Final = "index.html"
_TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_NOT_MODIFIED: Final = 304
_PERMANENT: Final = 308

HEADERS: Final[Mapping[str, str]] = {
    # Neither inline scripts nor styles, nothing from or to another origin, no frame around it. Trusted types:
    # the browser refuses to make markup from text, so that names of tenants stay text.
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Always asked for anew, and cheap to answer: a page and its modules are of one release.
    "Cache-Control": "no-cache",
}


class _File(NamedTuple):
    body: bytes
    media_type: str
    etag: str


class Pages:
    """Serves `/dashboard` and `/dashboard/static/…`. They hold no data, so nobody is asked who they are."""

    def __init__(self) -> None:
        self._files = dict(_read(files("router.dashboard") / "static"))

    def routes(self) -> list[Route]:
        """The endpoints."""
        return [
            Route("/dashboard", self._page, methods=["GET"]),
            Route("/dashboard/", self._without_slash, methods=["GET"]),
            Route("/dashboard/static/{name:path}", self._static, methods=["GET"]),
        ]

    async def _page(self, request: Request) -> Response:
        return self._answer(request, PAGE)

    async def _without_slash(self, _: Request) -> Response:
        # The page names its files relative to where it is, so that a gateway may put it under a prefix.
        return RedirectResponse("../dashboard", _PERMANENT, headers=HEADERS)

    async def _static(self, request: Request) -> Response:
        return self._answer(request, request.path_params["name"])

    def _answer(self, request: Request, name: str) -> Response:
        file = self._files.get(name)
        if file is None:
            raise NotFoundError(f"{request.method} {request.url.path}: no such file")
        headers = {**HEADERS, "ETag": file.etag}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=_NOT_MODIFIED, headers=headers)
        return Response(file.body, headers=headers, media_type=file.media_type)


def _read(folder: Traversable, prefix: str = "") -> list[tuple[str, _File]]:
    found: list[tuple[str, _File]] = []
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _read(entry, f"{name}/")
        elif (media_type := _TYPES.get(name.rpartition(".")[2])) is not None:
            body = entry.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
            found.append((name, _File(body, media_type, etag)))
    return found

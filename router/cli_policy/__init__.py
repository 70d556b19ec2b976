"""`specroute policy`: one module per command; `app` gathers them."""

from router.cli_policy.app import app

__all__ = ["app"]

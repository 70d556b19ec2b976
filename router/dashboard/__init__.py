"""The dashboard: a page at `/dashboard`, and the stream of figures it shows at `/admin/v1/live`."""

from router.dashboard.board import Dashboard
from router.dashboard.state import About, Sources

__all__ = ["About", "Dashboard", "Sources"]

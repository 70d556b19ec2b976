"""Where tables are printed."""

from __future__ import annotations

import sys

from rich.console import Console

_PIPE_COLUMNS = 200


def table_console() -> Console:
    """Standard output; lines in a pipe or a file are not folded to a terminal's 80 columns."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS)

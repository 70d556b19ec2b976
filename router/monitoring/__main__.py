"""Writes every generated file: `python -m router.monitoring`."""

from __future__ import annotations

import sys

from router.monitoring.files import files


def main() -> int:
    """Write them; the exit code."""
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

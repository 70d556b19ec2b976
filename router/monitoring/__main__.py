"""Writes every generated file: `python -m router.monitoring [--runbooks URL]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from router.monitoring.alerts import RUNBOOKS
from router.monitoring.files import files


def main(arguments: Sequence[str] | None = None) -> int:
    """Write them; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m router.monitoring", description=__doc__)
    parser.add_argument("--runbooks", default=RUNBOOKS, help="where docs/runbooks.md is published")
    chosen = parser.parse_args(arguments)
    for path, text in files(chosen.runbooks).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

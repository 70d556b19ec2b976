"""What breaks services on purpose uses the same way to start them as the integration tests."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "integration"))

import scenario_table

VARIABLE = "CHAOS_JSON"
"""Names a file for the table."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what became of the requests of every scenario."""
    if not scenario_table.ROWS:
        return
    terminalreporter.section("requests by scenario")
    terminalreporter.write_line(scenario_table.table(scenario_table.ROWS))
    if file := os.environ.get(VARIABLE):
        scenario_table.write(scenario_table.ROWS, Path(file))

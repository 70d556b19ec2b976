"""For all tests: examples are the same on every run, and a busy machine fails none of them.

Why those that start processes have a second try: docs/decisions/0020.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "specroute", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("specroute")

REAL_PROCESSES: Final = {"chaos", "engine", "integration", "service"}
"""Folders whose tests depend on what the machine does beside them."""
RERUNS: Final = 1
CHAOS_LIMIT_S: Final = 7200
"""For one test that breaks things for minutes on end; all others have the limit of pyproject.toml."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """A test that drives real processes is tried a second time when it fails, and the summary says so."""
    folder = Path(__file__).parent
    for item in items:
        if item.path.relative_to(folder).parts[0] in REAL_PROCESSES:
            item.add_marker(pytest.mark.flaky(reruns=RERUNS))
        if item.get_closest_marker("chaos"):
            item.add_marker(pytest.mark.timeout(CHAOS_LIMIT_S))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Take everything down before a second try, shared services too: what failed it may have broken them."""
    tries: int = getattr(item, "execution_count", RERUNS + 1)
    failed: dict[str, bool] = getattr(item, "_test_failed_statuses", {})
    if tries <= RERUNS and any(failed.values()):
        item.session._setupstate.teardown_exact(None)

"""A real Valkey for the tests that need one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from router.store import StoreSettings
from router.valkey import EmbeddedValkey


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """One server for the session; tests keep apart by model name."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server for one test to stop, freeze or wipe."""
    with EmbeddedValkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture(scope="session")
def patient() -> StoreSettings:
    """Time limits for machines busy with other tests."""
    return StoreSettings(timeout_s=5.0, call_timeout_s=10.0)

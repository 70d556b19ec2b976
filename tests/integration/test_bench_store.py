"""The store bench on a real Valkey, very small."""

import pytest

from bench.commands import run_store
from bench.report.sections import section

pytestmark = pytest.mark.integration


def test_flushes_and_memory_are_measured() -> None:
    """Every size of a flush, and cells in the store and in a router."""
    document = run_store(requests=[1, 3], cells=20, repeats=1, say=lambda _: None)
    assert [row["side"] for row in document["flush"]] == ["1", "3"]
    (memory,) = document["memory"]
    assert memory["store_bytes"].value > 0
    assert memory["router_bytes"].value > 0
    assert "MB in the store" in section(document)

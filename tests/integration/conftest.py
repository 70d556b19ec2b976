"""A real Valkey, and a running service with fake engines, for the tests that need one."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from services import Service, policy, running
from two_routers import TwoRouters

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
    return StoreSettings(timeout_s=30.0, call_timeout_s=60.0)


@pytest.fixture(scope="session")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy of `service`; whoever changes it puts it back."""
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    file.write_text(policy("shared"))
    return file


@pytest.fixture(scope="session")
def decision_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `service` writes its decisions."""
    return tmp_path_factory.mktemp("decision-log")


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory, policy_file: Path, decision_log: Path
) -> Iterator[Service]:
    """`specroute serve` with fake engines and the embedded store, for the session."""
    with running(
        tmp_path_factory.mktemp("service"),
        policy={"path": str(policy_file)},
        decision_log={"path": str(decision_log / "decisions.jsonl")},
    ) as service:
        yield service


@pytest.fixture(scope="session")
def two_routers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoRouters]:
    """Two routers on one store, for the session; each module mounts a policy of its own."""
    found = TwoRouters(tmp_path_factory.mktemp("two-routers"))
    try:
        found.service.wait_until_ready()
        yield found
    finally:
        found.service.end(signal.SIGTERM)
        found.stop_store()

"""Two real engines for the whole session, one on each of two cores, started side by side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine_client import NGRAM, VANILLA, EngineHost

from replicas.hardware import available_cores
from replicas.model_store import default_cache_dir, prepare


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, EngineHost]]:
    folder = prepare(default_cache_dir(), progress=lambda _stage, _fraction: None)
    scratch = tmp_path_factory.mktemp("engines")
    cores = available_cores()
    started = [
        EngineHost(profile, cores[number % len(cores)], folder, scratch)
        for number, profile in enumerate((VANILLA, NGRAM))
    ]
    try:
        for host in started:
            host.wait_until_ready()
        yield {host.profile.name: host for host in started}
    finally:
        for host in started:
            host.stop()


@pytest.fixture(scope="session")
def vanilla(hosts: dict[str, EngineHost]) -> EngineHost:
    return hosts["vanilla"]


@pytest.fixture(scope="session")
def ngram(hosts: dict[str, EngineHost]) -> EngineHost:
    return hosts["ngram"]

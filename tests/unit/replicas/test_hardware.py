"""Cores shared out between engines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicas import hardware
from replicas.hardware import (
    assign_cores,
    available_cores,
    bound_cores,
    cpu_environment,
    gpu_environment,
    take_part,
)
from replicas.profiles import Profile

pytestmark = pytest.mark.unit


def profiles(*cores: tuple[int, ...] | None) -> list[Profile]:
    return [Profile(name=f"p{number}", cpu_cores=named) for number, named in enumerate(cores)]


@pytest.mark.parametrize(
    ("named", "cores", "expected"),
    [
        ([None], [0, 1], [(0, 1)]),
        ([None, None], [0, 1], [(0,), (1,)]),
        ([None, None], [4, 5, 6, 7], [(4, 5), (6, 7)]),
        ([None, None, None], [0, 1], [(0,), (1,), (0,)]),
        ([(1,), None], [0, 1, 2], [(1,), (0, 2)]),
        ([(0, 1), None], [0, 1], [(0, 1), (0, 1)]),
        ([None], [3], [(3,)]),
    ],
    ids=["alone", "one each", "two each", "too few", "one named", "all named", "single core"],
)
def test_cores_are_shared_out(
    named: list[tuple[int, ...] | None], cores: list[int], expected: list[tuple[int, ...]]
) -> None:
    """Named cores are kept out of the sharing as long as others are left."""
    assert list(assign_cores(profiles(*named), cores).values()) == expected


@given(count=st.integers(1, 9), cores=st.lists(st.integers(0, 63), min_size=1, max_size=16, unique=True))
def test_everyone_gets_the_same_number_of_cores_and_no_two_share_one_without_need(
    count: int, cores: list[int]
) -> None:
    """Without named cores."""
    assigned = list(assign_cores(profiles(*[None] * count), cores).values())
    assert {len(mine) for mine in assigned} == {max(1, len(cores) // count)}
    used = [core for mine in assigned for core in mine]
    assert set(used) <= set(cores)
    assert len(set(used)) == min(len(used), len(cores))


def test_a_core_that_is_not_there_is_refused() -> None:
    """With the setting's name and what there is."""
    with pytest.raises(ValueError, match=r"profiles\.p0\.cpu_cores: core 9 is not available.*0, 1"):
        assign_cores(profiles((0, 9)), [0, 1])


def test_the_environment_binds_threads_and_limits_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Intel's OpenMP preloaded where it is installed."""
    monkeypatch.setattr(hardware, "intel_openmp", lambda: Path("/lib/libiomp5.so"))
    profile = Profile(name="p", kv_cache_gib=3)
    assert cpu_environment(profile, (2, 3)) == {
        "SPECROUTE_CPU_CORES": "2,3",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "KMP_BLOCKTIME": "5",
        "KMP_TPAUSE": "0",
        "VLLM_CPU_KVCACHE_SPACE": "3",
        "OMP_NUM_THREADS": "2",
        "TOKENIZERS_PARALLELISM": "false",
        "LD_PRELOAD": "/lib/libiomp5.so",
    }
    for name, value in cpu_environment(profile, (2, 3)).items():
        monkeypatch.setenv(name, value)
    assert bound_cores() == (2, 3)
    monkeypatch.setattr(hardware, "intel_openmp", lambda: None)
    assert "LD_PRELOAD" not in cpu_environment(profile, (2, 3))


def test_available_cores_are_those_the_process_may_use() -> None:
    """In order, at least one."""
    cores = available_cores()
    assert cores == tuple(sorted(set(cores)))
    assert cores


def test_intels_openmp_is_looked_for_in_this_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And nowhere else."""
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    assert hardware.intel_openmp() is None
    library = tmp_path / "lib" / "libiomp5.so"
    library.parent.mkdir()
    library.touch()
    assert hardware.intel_openmp() == library


@pytest.mark.parametrize(
    ("profile", "first"),
    [
        (Profile(name="p", method="ngram", k=4), True),
        (Profile(name="p", method="draft_model", k=4, draft_model="/d"), True),
        (Profile(name="p", method="eagle3", k=4, draft_model="/d"), False),
        (Profile(name="p", method="dspark", k=4, draft_model="/d"), False),
        (Profile(name="p"), False),
    ],
)
def test_drafters_that_need_vllms_first_model_runner_get_it(profile: Profile, *, first: bool) -> None:
    """Whatever the operator has set in the environment stays."""
    chosen = {"VLLM_USE_V2_MODEL_RUNNER": "0"} if first else {}
    assert gpu_environment(profile, {}) == chosen
    assert gpu_environment(profile, {"VLLM_USE_V2_MODEL_RUNNER": "1"}) == {}


@pytest.mark.parametrize(
    ("replicas", "named", "places"),
    [
        (2, None, [(0,), (1,), (0,)]),
        (1, None, [(0, 1)]),
        (3, None, [(0,), (1,), (0,)]),
        (2, (0, 1), [(0, 1), (0, 1)]),
    ],
    ids=["two", "alone", "more than cores", "named"],
)
def test_engines_of_one_pool_have_cores_of_their_own(
    replicas: int,
    named: tuple[int, ...] | None,
    places: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many threads as cores each; a replica that replaces another may come after the last place."""
    profile = Profile(name="p", replicas=replicas, cpu_cores=named)
    for place, expected in enumerate(places):
        for name, value in cpu_environment(profile, (0, 1)).items():
            monkeypatch.setenv(name, value)
        take_part(profile, place)
        assert bound_cores() == expected
        assert os.environ["OMP_NUM_THREADS"] == str(len(expected))


def test_without_cores_nothing_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines on GPUs, and engines that pretend."""
    monkeypatch.delenv("SPECROUTE_CPU_CORES", raising=False)
    take_part(Profile(name="p", replicas=2), 1)
    assert bound_cores() == ()

"""Which engines find GPUs on which nodes, told before any is started."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicas.autoscaling import Autoscaling
from replicas.placement import placement_problems
from replicas.profiles import Profile

pytestmark = pytest.mark.unit


def profile(name: str, gpus: float = 1, replicas: int = 1) -> Profile:
    return Profile(name=name, device="cuda", gpus=gpus, replicas=replicas)


@pytest.mark.parametrize(
    ("profiles", "nodes"),
    [
        ([profile("a"), profile("b")], [2]),
        ([profile("a"), profile("b")], [1, 1]),
        ([profile("a", 1, 2), profile("b", 2, 2), profile("c", 4)], [8, 2]),
        ([profile("a", 0.5), profile("b", 0.5)], [1]),
        ([profile("a", 0.3, 3), profile("b")], [1, 1]),
        ([profile("a", 0.25, 4), profile("b", 0.5, 2)], [2]),
    ],
)
def test_engines_that_fit_are_no_problem(profiles: list[Profile], nodes: list[int]) -> None:
    """In whatever order they are named, large and small, whole and in parts."""
    assert list(placement_problems(profiles, nodes)) == []
    assert list(placement_problems(profiles[::-1], nodes)) == []


@pytest.mark.parametrize(
    ("profiles", "nodes", "complaint"),
    [
        ([profile("a"), profile("b")], [1], "profiles.b: 1 of 1 engines find no free GPUs, and there is 1"),
        (
            [profile("a", 4)],
            [2, 2],
            "profiles.a.gpus: an engine takes 4 GPUs of one node, and the nodes have 2, 2",
        ),
        ([profile("a", 1, 3)], [2], "profiles.a: 1 of 3 engines find no free GPUs, and there are 2"),
        ([profile("a")], [0], "profiles.a.gpus: an engine takes 1 GPUs of one node, and there are none"),
        ([profile("a")], [], "profiles.a.gpus: an engine takes 1 GPUs of one node, and there are none"),
        ([profile("a", 0.6, 2)], [1], "profiles.a: 1 of 2 engines find no free GPUs, and there is 1"),
        ([profile("a", 2), profile("b")], [2], "profiles.b: 1 of 1 engines find no free GPUs"),
    ],
)
def test_engines_without_a_place_are_named(profiles: list[Profile], nodes: list[int], complaint: str) -> None:
    """With what there is, and what can be done."""
    (line,) = placement_problems(profiles, nodes)
    assert line.startswith(complaint)
    assert ": lower gpus" in line or ": serve fewer" in line


def test_a_pool_that_grows_needs_room_for_its_fewest() -> None:
    """Nodes for more may come later."""
    scaled = Profile(name="a", device="cuda", autoscaling=Autoscaling(min_replicas=2, max_replicas=9))
    assert list(placement_problems([scaled], [2])) == []
    assert len(list(placement_problems([scaled], [1]))) == 1


@given(
    st.lists(st.sampled_from([0.25, 0.5, 1, 2, 4, 8]), min_size=1, max_size=12),
    st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=6),
)
def test_sizes_that_divide_each_other_fit_wherever_they_can(sizes: list[float], nodes: list[int]) -> None:
    """With such sizes it is enough that the GPUs of all nodes that are large enough suffice, size by size."""
    profiles = [profile(f"p{number}", size) for number, size in enumerate(sizes)]
    fits = all(
        sum(size for size in sizes if size >= least)
        <= sum(gpus // least * least if least >= 1 else gpus for gpus in nodes)
        for least in sizes
    )
    assert (list(placement_problems(profiles, nodes)) == []) is fits

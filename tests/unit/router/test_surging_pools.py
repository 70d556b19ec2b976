"""Which pools keep their engine until its successor is ready."""

import pytest

from replicas.profiles import Profile
from router.app import _surging

pytestmark = pytest.mark.unit

ONE, OTHER = Profile(name="one"), Profile(name="other", method="ngram", k=4)
TWO = Profile(name="two", replicas=2)


@pytest.mark.parametrize(
    ("profiles", "surging"),
    [([ONE], {"one"}), ([ONE, OTHER], {"one", "other"}), ([ONE, TWO], set()), ([TWO], set())],
)
def test_an_update_leaves_an_engine(profiles: list[Profile], surging: set[str]) -> None:
    """One of a larger pool, or those whose successors are awaited."""
    assert _surging(profiles) == surging

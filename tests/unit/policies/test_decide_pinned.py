"""A request that may choose its route may choose its pool."""

import pytest
from deciding import DRAFT, NGRAM, VANILLA, accepting, arm, context, policy

from policies.decide import decide

pytestmark = pytest.mark.unit

POOLS = {
    "pools": (VANILLA, NGRAM, DRAFT),
    "estimates": {"ngram": accepting(0.8), "draft": accepting(0.8)},
    "policy": policy(mode="threshold", allow_overrides=True),
}


@pytest.mark.parametrize("profile", ["ngram", "draft"])
@pytest.mark.parametrize("k", [0, 3])
def test_the_pool_that_is_asked_for_serves(profile: str, k: int) -> None:
    """Plainly too, though another would be quicker."""
    asked = context(
        **POOLS, wanted_k=k, wanted_route="speculative" if k else "vanilla", wanted_profile=profile
    )
    decision = decide(asked)
    assert (arm(decision), decision.reason) == ((profile, k), "override")


def test_a_pool_alone_is_no_wish() -> None:
    """Beside no route and no k the router decides about all pools."""
    assert arm(decide(context(**POOLS, wanted_profile="draft"))) == arm(decide(context(**POOLS)))


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": policy(mode="threshold", allow_overrides=False)},
        {"unsupported": True},
        {"wanted_profile": "nobody"},
        {"pools": (VANILLA, NGRAM, DRAFT._replace(available=False))},
    ],
)
def test_where_it_cannot_be_honoured_it_is_not(changes: dict[str, object]) -> None:
    """Nobody may override, speculation cannot serve it, or the pool is not there: it is as if it were not asked."""
    asked = {"wanted_k": 3, "wanted_profile": "draft", **changes}
    without = {**asked, "wanted_profile": None}
    assert arm(decide(context(**{**POOLS, **asked}))) == arm(decide(context(**{**POOLS, **without})))

"""Which requests a calibration sends: all sides of all prompts, side by side, domains in turn."""

from collections import Counter

import pytest
from calibrations import COSTS, DRAFT, NGRAM, VANILLA
from hypothesis import given
from hypothesis import strategies as st

from policies.calibrating import Block, Side, Wanted, blocks, sides
from policies.calibrating.plan import default_ks, duration_s

pytestmark = pytest.mark.unit

WANTED = Wanted((), 4, 8, (0.0, 0.7), (1.0, 0.9), (1, 4))
SIDES = sides([VANILLA, NGRAM, DRAFT], WANTED)

domains = st.dictionaries(st.sampled_from(["code", "qa", "sql"]), st.integers(1, 9), min_size=1).map(
    lambda sizes: {name: [f"{name}-{number}" for number in range(size)] for name, size in sizes.items()}
)


@given(domains, st.integers(0, 99), st.integers(1, 3))
def test_every_prompt_is_asked_on_every_side_of_batch_one_exactly_once(
    by_domain: dict[str, list[str]], seed: int, replicas: int
) -> None:
    """In pools of one replica; batches are of one domain, and as large as asked for on each replica."""
    planned = blocks(by_domain, SIDES, {"draft": replicas}, seed=seed)
    asked = Counter((block.side, prompt) for block in planned for prompt in block.prompts)
    for side in SIDES:
        size = side.batch * (replicas if side.profile == "draft" else 1)
        own = [block for block in planned if block.side == side]
        assert all(len(block.prompts) == size for block in own)
        for names in by_domain.values():
            assert sum(set(block.prompts) <= set(names) for block in own) == max(1, len(names) // size)
            if size == 1:
                assert all(asked[side, name] == 1 for name in names)


@given(domains, st.integers(0, 99))
def test_a_run_that_is_cut_short_has_measured_all_domains_about_as_well(
    by_domain: dict[str, list[str]], seed: int
) -> None:
    """Nowhere on the way is a domain two prompts ahead of another that has more to come."""
    planned = blocks(by_domain, [side for side in SIDES if side.batch == 1], {}, seed=seed)
    begun: dict[str, set[str]] = {name: set() for name in by_domain}
    for block in planned:
        begun[block.prompts[0].split("-")[0]].update(block.prompts)
        unfinished = [len(begun[name]) for name in by_domain if len(begun[name]) < len(by_domain[name])]
        assert max(map(len, begun.values())) - min(unfinished, default=99) <= 1


def test_the_order_of_sides_is_drawn_anew_for_each_prompt_and_repeats_with_the_seed() -> None:
    """So that no side always comes first, and an interrupted calibration finds its plan again."""
    by_domain = {"code": [str(number) for number in range(30)]}
    planned = blocks(by_domain, SIDES, {}, seed=1)
    firsts = {next(block.side for block in planned if name in block.prompts) for name in by_domain["code"]}
    assert len(firsts) > 3
    assert planned == blocks(by_domain, SIDES, {}, seed=1) != blocks(by_domain, SIDES, {}, seed=2)


def test_every_pool_decodes_plainly_too_and_varies_one_thing_at_a_time() -> None:
    """Several k at the base alone; batches and sampling at the reference k."""
    of_draft = [side for side in SIDES if side.profile == "draft"]
    assert of_draft == [
        Side("draft", 0, 0.0, 1.0, 1),
        Side("draft", 0, 0.0, 1.0, 4),
        Side("draft", 2, 0.0, 1.0, 1),
        Side("draft", 4, 0.0, 1.0, 1),
        Side("draft", 5, 0.0, 1.0, 1),
        Side("draft", 4, 0.0, 1.0, 4),
        Side("draft", 4, 0.7, 1.0, 1),
        Side("draft", 4, 0.0, 0.9, 1),
    ]


def test_other_sampling_is_measured_plainly_on_one_pool() -> None:
    """That without a drafter, where there is one: what drafts are compared with."""
    varied = {("vanilla", 0.7, 1.0), ("vanilla", 0.0, 0.9)}
    plain = [side for side in SIDES if not side.k and side[2:4] != (0.0, 1.0)]
    assert {(side.profile, *side[2:4]) for side in plain} == varied
    assert len(plain) == len(varied)
    alone = sides([NGRAM, DRAFT], WANTED)
    assert {side.profile for side in alone if not side.k and side.temperature == 0.7} == {"draft"}
    assert sides([], WANTED) == []


def test_no_side_is_beyond_what_a_pool_or_the_policy_allows() -> None:
    """A batch that has no slots, and a k above the policy's largest, are left out."""
    found = sides([VANILLA, NGRAM._replace(capacity=2)], WANTED._replace(most_k=3, ks=(2, 6)))
    assert {side.k for side in found} == {0, 2, 3}
    assert {side.batch for side in found if side.profile == "ngram"} == {1}


@pytest.mark.parametrize(
    ("max_k", "reference", "expected"), [(8, 4, (2, 4, 8)), (5, 4, (2, 4, 5)), (1, 4, (1,)), (2, 4, (1, 2))]
)
def test_three_k_are_tried_unless_named(max_k: int, reference: int, expected: tuple[int, ...]) -> None:
    """The reference, the largest, and one below."""
    assert default_ks(max_k, reference) == expected


def test_the_time_is_that_of_plain_steps_one_block_after_the_other() -> None:
    """Twice the blocks take twice as long; pools nobody knows the time of take none."""
    block = Block(Side("vanilla", 0, 0.0, 1.0, 1), ("a",))
    long = {"a": 0.0}
    once = duration_s([block], COSTS, prompt_tokens=long, tokens=51)
    assert once == pytest.approx(51 * 0.02)
    assert duration_s([block, block], COSTS, prompt_tokens=long, tokens=51) == pytest.approx(2 * once)
    assert duration_s([block], {}, prompt_tokens=long, tokens=51) == 0

"""The mix of a pool keeps the tenants' tasks that most was asked for lately."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from deciding import accepting
from hypothesis import given
from hypothesis import strategies as st

from policies.cells import decay_factor
from policies.crowd_mix import _MOST_CELLS, HALF_LIFE_S, Mix

pytestmark = pytest.mark.unit

EPOCH_S = 1_700_000_000.0


@given(
    asked=st.lists(
        st.tuples(st.integers(0, 90), st.floats(1.0, 1000.0), st.floats(0.0, 20.0)),
        min_size=_MOST_CELLS,
        max_size=150,
    )
)
def test_the_rarest_cell_makes_room(asked: Sequence[tuple[int, float, float]]) -> None:
    """Whoever has the fewest tokens left goes, older ones weighing less, whatever the order they came in."""
    mix, estimate, now_s = Mix(EPOCH_S, EPOCH_S), accepting(0.6), EPOCH_S
    left: dict[tuple[str, str], float] = {}
    for tenant, tokens, passed_s in asked:
        now_s += passed_s
        left = {name: kept * decay_factor(passed_s, HALF_LIFE_S) for name, kept in left.items()}
        cell = (f"tenant-{tenant}", "code")
        if cell not in left and len(left) == _MOST_CELLS:
            fewest = sorted(left.values())[:2]
            if fewest[1] - fewest[0] <= 1e-6 * fewest[1]:  # too close to say which one goes
                return
            del left[min(left, key=left.__getitem__)]
        left[cell] = left.get(cell, 0.0) + tokens
        mix.believe(cell, estimate, tokens, now_s)
    assert {cell: part.tokens_at(now_s) for cell, part in mix._cells.items()} == pytest.approx(left)

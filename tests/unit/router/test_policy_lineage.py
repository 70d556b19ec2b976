"""Where a file stands among the published ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy_lineage import FileLine, Standing, standing

pytestmark = pytest.mark.unit

MARKS = st.sampled_from("abc")
EDITS = st.lists(MARKS, min_size=1, max_size=12).map(
    lambda marks: [mark for number, mark in enumerate(marks) if number == 0 or mark != marks[number - 1]]
)


def line_of(marks: str) -> FileLine:
    line = FileLine()
    for mark in marks:
        line = line.followed_by(mark)
    return line


@pytest.mark.parametrize(
    ("before", "mark", "alone", "expected"),
    [
        (None, "c", False, Standing("c", 3)),
        (None, "a", False, Standing("a", 1)),
        (None, "a", True, None),
        (None, "d", False, None),
        (Standing("a", 1), "b", False, Standing("b", 2)),
        (Standing("a", 1), "c", False, Standing("c", 3)),
        (Standing("c", 3), "a", False, None),
        (Standing("c", 3), "c", False, Standing("c", 3)),
        (Standing("a", 1), "a", True, Standing("a", 1)),
        (Standing("b", 3), "b", False, Standing("b", 2)),
        (Standing("x", 9), "x", False, Standing("x", 0)),
        (Standing("c", 0), "c", False, Standing("c", 3)),
    ],
)
def test_where_a_file_stands(
    before: Standing | None, mark: str, alone: bool, expected: Standing | None
) -> None:
    """In the line a, b, c: at the last one, behind it, or news."""
    assert standing(line_of("abc"), mark, before, alone=alone) == expected


def test_a_line_keeps_its_last_files_and_its_count() -> None:
    """Of a thousand files the numbers of the last fifty are known; one too old to be kept may be right."""
    line = line_of("ab" * 500)
    assert (line.number, len(line.marks), line.last("a"), line.last("b")) == (1000, 50, 999, 1000)
    assert standing(line, "a", Standing("a", 7), alone=False) == Standing("a", 7)
    assert line.next_after(7, "a") == 951


@given(edits=EDITS, order=st.randoms(use_true_random=False), routers=st.integers(2, 4))
def test_however_late_routers_see_the_edits_each_is_published_once(
    edits: list[str], order: object, routers: int
) -> None:
    """Every router sees all edits, each at its own time: the line is the edits, and nobody is behind."""
    line = FileLine().followed_by(edits[0])
    seen = [0] * routers
    places: list[Standing | None] = [standing(line, edits[0], None, alone=False)] * routers
    while any(number < len(edits) - 1 for number in seen):
        waiting = [router for router, number in enumerate(seen) if number < len(edits) - 1]
        router = order.choice(waiting)  # type: ignore[attr-defined]
        seen[router] += 1
        mark = edits[seen[router]]
        places[router] = standing(line, mark, places[router], alone=False)
        if places[router] is None:
            line = line.followed_by(mark)
            places[router] = Standing(mark, line.number)
    assert list(line.marks) == edits
    assert {place.number for place in places if place} == {line.number}


@given(edits=EDITS, order=st.randoms(use_true_random=False))
def test_routers_that_miss_edits_still_end_at_the_last_one(edits: list[str], order: object) -> None:
    """A router may skip files that came and went between two readings."""
    line = FileLine().followed_by(edits[0])
    places: list[Standing | None] = [standing(line, edits[0], None, alone=False)] * 2
    for number in range(1, len(edits)):
        for router in range(2):
            if router == 0 or number == len(edits) - 1 or order.random() < 0.5:  # type: ignore[attr-defined]
                mark = edits[number]
                places[router] = standing(line, mark, places[router], alone=False)
                if places[router] is None:
                    line = line.followed_by(mark)
                    places[router] = Standing(mark, line.number)
    assert line.marks[-1] == edits[-1]

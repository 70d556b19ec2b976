"""The specroute object and the headers."""

import json
from typing import Any

import pytest
from fakes import ending, whole
from hypothesis import given
from hypothesis import strategies as st

from policies.decide import Decision, Reason
from replicas.frames import Ending, Frame
from router.details import details, headers, spliced

pytestmark = pytest.mark.unit

DECISION = Decision("ngram", 4, Reason.ALPHA_ABOVE, alpha=0.8, expected_speedup=1.5)


def of(given: Ending) -> dict[str, Any]:
    return details(
        DECISION, given, task="code", confidence=0.98765432, tenant="acme", policy="p@1", failovers=1
    )


def test_counts_add_up() -> None:
    """Steps, drafted and accepted are the sums of the arrays beside them; the length counts the bonus."""
    found = of(ending((4, 4, 2), (3, 0, 2)))
    assert (found["steps"], found["drafted"], found["accepted"]) == (3, 10, 5)
    assert (found["per_step_drafted"], found["per_step_accepted"]) == ([4, 4, 2], [3, 0, 2])
    assert found["acceptance_length"] == pytest.approx(8 / 3)
    assert found["completion_tokens"] == 1 + found["steps"] + found["accepted"]


def test_unknown_is_null() -> None:
    """Where steps are not complete nothing is made up; without a step there is no length."""
    found = of(ending(counted=False))
    names = ("steps", "drafted", "accepted", "acceptance_length", "per_step_drafted", "per_step_accepted")
    assert {found[name] for name in names} == {None}
    assert of(ending((), ()))["acceptance_length"] is None
    assert of(ending((), ()))["steps"] == 0


def test_who_answered_is_told_where_it_is_known() -> None:
    """The replica as its status names it."""
    assert of(ending(replica="a1b2"))["replica"] == "a1b2"
    assert of(ending())["replica"] is None


def test_the_names_of_the_contract() -> None:
    """Outside checks rely on these."""
    assert of(ending()).keys() >= {
        "route",
        "profile",
        "k",
        "task",
        "reason",
        "policy",
        "steps",
        "drafted",
        "accepted",
        "acceptance_length",
        "alpha",
        "predicted_s",
        "measured_s",
        "failovers",
        "per_step_drafted",
        "per_step_accepted",
    }
    assert headers(DECISION, task="code", policy="p@1") == {
        "X-Specroute-Route": "speculative",
        "X-Specroute-K": "4",
        "X-Specroute-Task": "code",
        "X-Specroute-Profile": "ngram",
        "X-Specroute-Reason": "alpha_above",
        "X-Specroute-Policy": "p@1",
    }


@given(st.dictionaries(st.text(min_size=1), st.integers(), min_size=1), st.dictionaries(st.text(), st.text()))
def test_splicing_adds_one_member(body: dict[str, int], value: dict[str, str]) -> None:
    """Before the closing brace, the object stands beside what was there, in any JSON."""
    body.pop("specroute", None)
    body["id"] = 1
    data = json.dumps(body).encode()
    found = json.loads(spliced(whole(data, splice_at=len(data) - 1), value))
    assert found == {**body, "specroute": value}


def test_splicing_into_a_stream() -> None:
    """The usage chunk gets the object; the events around it are left alone."""
    before, event, after = b'data: {"a":1}\n\n', b'data: {"usage":{}}', b"\n\ndata: [DONE]\n\n"
    frame = Frame(before + event + after, splice_at=len(before + event) - 1)
    first, second, third, rest = spliced(frame, {"k": 4}).decode().split("\n\n")
    assert (first, third, rest) == ('data: {"a":1}', "data: [DONE]", "")
    assert json.loads(second.removeprefix("data: ")) == {"usage": {}, "specroute": {"k": 4}}


def test_without_room_nothing_is_spliced() -> None:
    """A frame that has no place for it stays as it is."""
    assert spliced(whole(b"{}"), {"k": 4}) == b"{}"

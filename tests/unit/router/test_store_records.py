import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cells import CellDelta, CellKey
from router.store_records import KeyNames, delta_text, parse_record

pytestmark = pytest.mark.unit


def test_keys_are_as_published() -> None:
    """Outside checks rely on these names."""
    names = KeyNames("org/model-135M")
    prefix = "specroute:{org/model-135M}:v1:"
    assert names.cell(CellKey("ngram", "code", "low")) == prefix + "accept:ngram:code:low"
    assert (
        names.cell(CellKey("ngram", "code", "high", "acme")) == prefix + "accept:ngram:code:high:tenant:acme"
    )


@given(st.text(), st.text(), st.sampled_from(["low", "mid", "high"]), st.none() | st.text(), st.text())
def test_any_name_survives_and_none_breaks_out(
    profile: str, task: str, temperature: str, tenant: str | None, model: str
) -> None:
    """A key names its cell and no other, and its hash tag is the model's, whatever the names hold."""
    names = KeyNames(model)
    key = CellKey(profile, task, temperature, tenant)  # type: ignore[arg-type]
    name = names.cell(key)
    assert names.parse_cell(name) == key
    assert name.startswith(names.prefix)
    assert (name.count("{"), name.count("}")) == (1, 1)


@given(st.text())
def test_foreign_keys_name_no_cell(name: str) -> None:
    """What is not a cell's key is passed over, never misread."""
    names = KeyNames("m")
    parsed = names.parse_cell(names.prefix + "accept:" + name)
    assert parsed is None or isinstance(parsed, CellKey)
    assert names.parse_cell(name) is None


def test_garbage_is_ignored_and_counted() -> None:
    """Fields that are no numbers do not reach the counters."""
    text = b"v\n1\nt\n17.5\ne\n2\nc:a\n1.5\nc:b\nnan\nc:d\n\xff\nl:a\n3\nl:b\n0.5\nz:new\nx"
    record, garbage = parse_record(text)
    assert (dict(record.counters), dict(record.lifetime), garbage) == ({"a": 1.5}, {"a": 3}, 3)
    assert (record.updated_at_s, record.epoch) == (17.5, 2)


def test_counters_of_unknown_age_are_no_evidence() -> None:
    """Without a time only lifetime totals are believed."""
    record, garbage = parse_record(b"v\n1\nt\nsoon\nc:a\n5\nl:a\n5")
    assert (dict(record.counters), dict(record.lifetime), garbage) == ({}, {"a": 5}, 1)


@pytest.mark.parametrize("text", [b"v\n2\nt\n1", b"t\n1\nc:a\n1", b"v"])
def test_other_versions_are_refused(text: bytes) -> None:
    """A layout we do not know is an error."""
    with pytest.raises(ValueError, match="record version"):
        parse_record(text)


@pytest.mark.parametrize(
    "bad",
    [
        CellDelta(600.0, {"a": float("inf")}, {}),
        CellDelta(0.0, {"a": 1.0}, {}),
        CellDelta(600.0, {"a\nb": 1.0}, {}),
        CellDelta(600.0, {}, {"": 1}),
    ],
)
def test_deltas_that_would_poison_a_record_are_refused(bad: CellDelta) -> None:
    """Nothing is written that could not be read back."""
    with pytest.raises(ValueError, match=r"finite|positive|newline"):
        delta_text(bad)

"""Warnings: what is allowed and yet probably not meant, and what is in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policies.loading import parse_with_warnings

pytestmark = pytest.mark.unit

HEAD = "apiVersion: specroute/v1\nkind: RoutingPolicy\nmetadata: {name: test}\nspec:\n"
CASES = Path(__file__).with_name("questionable_policies.txt").read_text(encoding="utf-8")
QUESTIONABLE = re.findall(r"^=== (.+)\n((?:.*\n)+?)--- warnings\n((?:p\.yaml.*\n)+)", CASES, re.MULTILINE)


def warnings_of(spec: str, keys: set[str] | None = None) -> list[str]:
    _, warnings = parse_with_warnings(HEAD + spec, "p.yaml", keys)
    return [str(warning) for warning in warnings]


@pytest.mark.parametrize(("spec", "expected"), [pytest.param(*case[1:], id=case[0]) for case in QUESTIONABLE])
def test_a_questionable_spec_is_warned_of_word_for_word(spec: str, expected: str) -> None:
    """Every warning is one line with its position, its path and what to do."""
    assert warnings_of(spec) == expected.splitlines()


def test_every_questionable_spec_of_the_file_is_tried() -> None:
    """The table's pattern misses no case."""
    assert len(QUESTIONABLE) == CASES.count("\n=== ")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param("  {}\n", id="the defaults"),
        pytest.param("  threshold: {enable_above: 0.99}\n", id="a band nobody looks at"),
        pytest.param(
            "  mode: threshold\n  exploration: {share: 0}\n", id="a band that is met without evidence"
        ),
        pytest.param("  mode: shadow\n  tasks: {code: {threshold: {enable_above: 0.7}}}\n", id="shadow"),
        pytest.param("  tenants: {acme: {exploration: {share: 0}}}\n", id="others explore for the tenant"),
        pytest.param("  k: {max: 6}\n  tasks: {code: {k: {max: 6}}}\n", id="saying what is inherited"),
        pytest.param(
            "  schedules: [{name: day, when: {from: '09:00', to: '17:00'}, mode: threshold}]\n"
            "  tasks: {code: {threshold: {enable_above: 0.7}}}\n",
            id="a band for certain hours",
        ),
        pytest.param(
            "  schedules:\n"
            "  - {name: lunch, when: {from: '12:00', to: '13:00', tz: UTC}, k: {max: 4}}\n"
            "  - {name: day, when: {from: '09:00', to: '18:00', tz: UTC}, objective: {class: batch}}\n",
            id="schedules about other things",
        ),
        pytest.param(
            "  schedules:\n"
            "  - {name: berlin, when: {from: '10:00', to: '11:00', tz: Europe/Berlin}, k: {max: 4}}\n"
            "  - {name: utc, when: {from: '09:00', to: '10:00', tz: UTC}, k: {max: 5}}\n",
            id="a schedule hidden in winter only",
        ),
    ],
)
def test_what_may_be_meant_is_not_warned_of(spec: str) -> None:
    """A warning that is wrong teaches people to read none."""
    assert warnings_of(spec) == []


def test_a_tenant_needs_a_key() -> None:
    """Where the keys are known."""
    spec = "  tenants: {acme: {}, globex: {}}\n"
    assert warnings_of(spec) == []
    assert warnings_of(spec, {"globex", "hooli"}) == [
        "p.yaml:5:13: spec.tenants.acme: no API key belongs to this tenant; add one to the keys file"
    ]

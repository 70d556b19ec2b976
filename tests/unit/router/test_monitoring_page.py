"""docs/metrics.md is what the code says, and what it asks for exists."""

import re

import pytest

from router.monitoring.files import files
from router.monitoring.page import Described, described
from router.monitoring.questions import QUESTIONS

pytestmark = pytest.mark.unit

PARTS = ("_bucket", "_sum", "_count")
OF_THE_CONTRACT = {
    "specroute_requests_total": {"route", "profile", "task", "reason"},
    "specroute_acceptance_rate": {"profile", "task"},
    "specroute_acceptance_length": {"profile", "task"},
    "specroute_k": set[str](),
    "specroute_decision_seconds": set[str](),
    "specroute_overhead_seconds": set[str](),
    "specroute_ttft_seconds": {"route"},
    "specroute_tpot_seconds": {"route"},
    "specroute_predicted_over_measured": {"profile"},
    "specroute_failovers_total": {"stage"},
    "specroute_store_up": set[str](),
    "specroute_policy_info": {"name", "revision", "rejected_newer"},
}


@pytest.fixture(scope="module")
def metrics() -> dict[str, Described]:
    return {metric.name: metric for metric in described()}


def test_what_is_generated_is_up_to_date() -> None:
    """The list of metrics, rules and dashboard: run `python -m router.monitoring` after a change."""
    old = [path.name for path, text in files().items() if path.read_text(encoding="utf-8") != text]
    assert old == []


def test_the_contract_is_kept(metrics: dict[str, Described]) -> None:
    """Its names, with their labels."""
    assert {name: set(metrics[name].labels) for name in OF_THE_CONTRACT} == OF_THE_CONTRACT


def test_names_keep_to_the_conventions(metrics: dict[str, Described]) -> None:
    """One prefix, base units, `_total` for counters and for nothing else, help that ends like a sentence."""
    for metric in metrics.values():
        assert re.fullmatch(r"specroute(_[a-z0-9]+)+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not re.search(r"_(ms|milliseconds|minutes|percent|mib|kib)(_|$)", metric.name)
        assert metric.help.endswith(".")
        assert metric.kind in {"counter", "gauge", "histogram"}
        assert metric.labels == () or all(re.fullmatch(r"[a-z_]+", label) for label in metric.labels)


def test_tenants_are_a_label_of_their_own_metrics_only(metrics: dict[str, Described]) -> None:
    """So that nobody adds them where any tenant would be counted."""
    named = {name for name, metric in metrics.items() if "tenant" in metric.labels}
    assert named == {name for name in metrics if name.startswith("specroute_tenant_")}


def test_questions_ask_for_metrics_that_exist(metrics: dict[str, Described]) -> None:
    """And group by labels that those have."""
    for question in QUESTIONS:
        asked = set(re.findall(r"specroute_\w+", question.promql))
        names = {
            re.sub(rf"({'|'.join(PARTS)})$", "", name) if name not in metrics else name for name in asked
        }
        assert names
        assert names <= metrics.keys(), question.asked
        labels = {label for name in names for label in metrics[name].labels} | {"le"}
        for grouped in re.findall(r"by \(([^)]*)\)", question.promql):
            assert {label.strip() for label in grouped.split(",")} <= labels, question.asked

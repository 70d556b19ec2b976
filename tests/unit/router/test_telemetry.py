"""Metrics: the names of the contract, and what may count as a latency."""

from pathlib import Path

import pytest
from fakes import T0, FakePool, Harness, ending, gone, last, more, opening, request, state_of, whole
from prometheus_client.parser import text_string_to_metric_families

from policies.drift import DriftEvent
from router.telemetry import Metrics

pytestmark = pytest.mark.unit


def metrics_of(harness: Harness) -> Metrics:
    metrics = Metrics(state_of(harness))
    for outcome in harness.outcomes:
        metrics.on_outcome(outcome)
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels; reading them checks the format."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, sample: str, /, **labels: str) -> float | None:
    return samples(metrics).get((sample, frozenset(labels.items())))


async def test_the_names_of_the_contract(tmp_path: Path) -> None:
    """After a request, the metrics that this version has are there under their plain names."""
    harness = await Harness(tmp_path, ngram=FakePool([opening(), last()])).ready()
    await harness.answer(request({"x-specroute-task": "code"}, stream=True))
    metrics = metrics_of(harness)
    labels = {"route": "speculative", "profile": "ngram", "task": "code", "reason": "mode"}
    assert value(metrics, "specroute_requests_total", **labels) == 1
    assert value(metrics, "specroute_acceptance_rate", profile="ngram", task="code") == pytest.approx(0.5)
    assert value(metrics, "specroute_acceptance_length", profile="ngram", task="code") == pytest.approx(8 / 3)
    assert value(metrics, "specroute_store_up") == 0
    assert value(metrics, "specroute_k_count") == 1
    assert value(metrics, "specroute_decision_seconds_count") == 1
    assert value(metrics, "specroute_ttft_seconds_count", route="speculative") == 1
    assert value(metrics, "specroute_tpot_seconds_sum", route="speculative") == pytest.approx(0.4 / 8)
    name, _, revision = harness.policies.label.partition("@")
    assert value(metrics, "specroute_policy_info", name=name, revision=revision, rejected_newer="false") == 1


async def test_failovers_are_counted(tmp_path: Path) -> None:
    """By the stage they happened at."""
    harness = await Harness(tmp_path, ngram=FakePool([gone()])).ready()
    await harness.answer()
    assert value(metrics_of(harness), "specroute_failovers_total", stage="before_first_token") == 1


async def test_what_was_not_completed_is_no_latency(tmp_path: Path) -> None:
    """Refusals and failures count as requests, but neither as times to a token nor as a k."""
    refused, broken = [whole(status=400)], [opening(), more(), gone()]
    harness = await Harness(tmp_path, ngram=FakePool(refused, broken)).ready()
    await harness.answer()
    await harness.answer(request(stream=True))
    metrics = metrics_of(harness)
    assert sum(v for (name, _), v in samples(metrics).items() if name == "specroute_requests_total") == 2
    assert value(metrics, "specroute_k_count") == 0
    assert value(metrics, "specroute_ttft_seconds_count", route="speculative") is None
    assert value(metrics, "specroute_tpot_seconds_count", route="speculative") is None


async def test_a_whole_answer_has_no_time_to_first_token(tmp_path: Path) -> None:
    """The router sees an unstreamed answer when it is complete, which says nothing of its first token."""
    harness = await Harness(tmp_path, ngram=FakePool([whole()])).ready()
    await harness.answer()
    metrics = metrics_of(harness)
    assert value(metrics, "specroute_ttft_seconds_count", route="speculative") is None
    assert value(metrics, "specroute_tpot_seconds_count", route="speculative") == 1


async def test_one_token_has_no_time_per_token(tmp_path: Path) -> None:
    """There is no gap to measure."""
    harness = await Harness(
        tmp_path, ngram=FakePool([whole(ending=ending((), (), completion_tokens=1))])
    ).ready()
    await harness.answer()
    assert value(metrics_of(harness), "specroute_tpot_seconds_count", route="speculative") is None


async def test_tenants_are_no_labels(tmp_path: Path) -> None:
    """However many tenants there are, the number of series stays as it was."""
    harness = await Harness(tmp_path).ready()
    await harness.answer(request({"x-specroute-tenant": "t"}))
    before = len(samples(metrics_of(harness)))
    for number in range(20):
        await harness.answer(request({"x-specroute-tenant": f"tenant{number}"}))
    assert len(samples(metrics_of(harness))) == before
    assert b"tenant" not in metrics_of(harness).exposition()


def test_two_routers_in_one_process(tmp_path: Path) -> None:
    """Metrics are nobody's global: two sets of them do not collide."""
    harness = Harness(tmp_path)
    first, second = metrics_of(harness), metrics_of(harness)
    assert samples(first).keys() == samples(second).keys()
    harness.policy_file.write_text("broken")
    harness.policies.reload()
    assert b'rejected_newer="true"' in first.exposition()


async def test_drift_events_are_counted(tmp_path: Path) -> None:
    """By profile, kind and task; the task is empty where all tasks are meant."""
    metrics = metrics_of(await Harness(tmp_path).ready())
    for kind, task in (("task_fell", "code"), ("task_fell", "code"), ("drafter_rot", None)):
        metrics.on_drift(DriftEvent(kind, "ngram", task, T0, 0.7, 0.4, 12))  # type: ignore[arg-type]
    counted = {"profile": "ngram", "kind": "task_fell", "task": "code"}
    assert value(metrics, "specroute_drift_events_total", **counted) == 2
    assert value(metrics, "specroute_drift_events_total", profile="ngram", kind="drafter_rot", task="") == 1

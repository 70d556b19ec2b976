"""Metrics: the names of the contract, and what may count as a latency."""

from pathlib import Path

import pytest
from app_client import client_of
from fakes import (
    CHAT,
    MESSAGES,
    T0,
    FakePool,
    Harness,
    ending,
    gone,
    last,
    more,
    opening,
    policy_text,
    request,
    state_of,
    whole,
)
from prometheus_client.parser import text_string_to_metric_families

from policies.drift import DriftEvent
from router.telemetry import Metrics
from router.telemetry_alpha import AlphaCollector
from router.telemetry_pools import PoolCollector

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


async def test_tenants_nobody_named_are_no_labels(tmp_path: Path) -> None:
    """However many of them there are, the number of series stays as it was."""
    harness = await Harness(tmp_path).ready()
    await harness.answer(request({"x-specroute-tenant": "t"}))
    before = len(samples(metrics_of(harness)))
    for number in range(20):
        await harness.answer(request({"x-specroute-tenant": f"tenant{number}"}))
    assert len(samples(metrics_of(harness))) == before
    assert b'tenant="' not in metrics_of(harness).exposition()


async def test_named_tenants_have_totals_of_their_own(tmp_path: Path) -> None:
    """Requests, tokens and times, from which acceptance and time per token follow; gone with the name."""
    harness = await Harness(tmp_path, ngram=FakePool([whole()]), tenants={"acme": {}}).ready()
    await harness.answer(request({"x-specroute-tenant": "acme"}))
    metrics = metrics_of(harness)
    labels = {"tenant": "acme", "route": "speculative"}
    found = {
        name: value(metrics, f"specroute_tenant_{name}_total", **labels)
        for name in ("requests", "drafted_tokens", "accepted_tokens", "decode_seconds", "decoded_tokens")
    }
    assert found == {
        "requests": 1,
        "drafted_tokens": 10,
        "accepted_tokens": 5,
        "decode_seconds": 0.4,
        "decoded_tokens": 8,
    }
    harness.policy_file.write_text(policy_text())
    harness.policies.reload()
    assert b'tenant="' not in metrics.exposition()


async def test_tokens_of_complete_answers(tmp_path: Path) -> None:
    """Passes, drafts and times by task, and what the plain arm was predicted to take instead."""
    harness = await Harness(tmp_path, ngram=FakePool([whole()])).ready()
    await harness.answer(request({"x-specroute-task": "code"}))
    metrics = metrics_of(harness)
    drafts = {"profile": "ngram", "task": "code"}
    arm = {"route": "speculative", **drafts}
    assert value(metrics, "specroute_steps_total", **drafts) == 3
    assert value(metrics, "specroute_drafted_tokens_total", **drafts) == 10
    assert value(metrics, "specroute_accepted_tokens_total", **drafts) == 5
    assert value(metrics, "specroute_prompt_tokens_total", **arm) == 5
    assert value(metrics, "specroute_completion_tokens_total", **arm) == 9
    assert value(metrics, "specroute_decoded_tokens_total", **arm) == 8
    assert value(metrics, "specroute_decode_seconds_total", **arm) == 0.4
    assert value(metrics, "specroute_speculative_decode_seconds_total", **drafts) == 0.4
    [outcome] = harness.outcomes
    plain = min(score.decode_s for score in outcome.decision.scores if score.k == 0)
    assert outcome.work is not None
    instead = plain * 8 / (outcome.work.output_tokens - 1)
    found = value(metrics, "specroute_speculative_instead_seconds_total", **drafts)
    assert found == pytest.approx(instead)


async def test_how_requests_end(tmp_path: Path) -> None:
    """Every result is there from the start; a stream that breaks off after its 200 is counted apart."""
    harness = await Harness(tmp_path, ngram=FakePool([opening(), more(), gone()])).ready()
    before = metrics_of(harness)
    assert value(before, "specroute_results_total", result="failed") == 0
    assert value(before, "specroute_broken_streams_total") == 0
    await harness.answer(request(stream=True))
    assert value(metrics_of(harness), "specroute_results_total", result="failed") == 1
    assert value(metrics_of(harness), "specroute_broken_streams_total") == 1


async def test_responses_are_counted_by_status(tmp_path: Path) -> None:
    """Also those that are refused before anything is decided; other paths are not."""
    harness = await Harness(tmp_path).ready()
    async with client_of(harness) as client:
        assert (await client.post(CHAT, json={"messages": MESSAGES})).status_code == 200
        assert (await client.post(CHAT, content=b"{")).status_code == 400
        await client.get("/v1/nothing")
        harness.ngram.status_error = harness.vanilla.status_error = gone()
        for _ in range(2):
            await harness.pools.poll()
        assert (await client.post(CHAT, json={"messages": MESSAGES})).status_code == 503
        text = (await client.get("/metrics")).text
    for code in (200, 400, 503):
        assert f'specroute_http_responses_total{{code="{code}"}} 1.0' in text
    assert 'code="404"' not in text


async def test_alpha_of_every_task(tmp_path: Path) -> None:
    """As it is believed, between the ends of its interval, once there is evidence."""
    harness = await Harness(tmp_path, ngram=FakePool([whole()])).ready()
    metrics = metrics_of(harness)
    metrics.registry.register(
        AlphaCollector(harness.buffer, harness.learning, harness.policies, harness.clock)
    )
    labels = {"profile": "ngram", "task": "code"}
    assert value(metrics, "specroute_alpha", **labels) is None
    for _ in range(5):
        await harness.answer(request({"x-specroute-task": "code", "x-specroute-tenant": "acme"}))
    ends = [value(metrics, f"specroute_alpha_{end}", **labels) for end in ("lower", "upper")]
    alpha = value(metrics, "specroute_alpha", **labels)
    assert alpha is not None
    assert None not in ends
    assert ends[0] < alpha < ends[1]  # type: ignore[operator]


async def test_pools_are_told_apart(tmp_path: Path) -> None:
    """Who answers, with how many slots; one that is lost is down, and the service ready all the same."""
    harness = await Harness(tmp_path).ready()
    metrics = metrics_of(harness)
    metrics.registry.register(PoolCollector(harness.pools, harness.learning))
    assert value(metrics, "specroute_pool_up", profile="ngram") == 1
    assert value(metrics, "specroute_pool_slots", profile="ngram") == 16
    assert value(metrics, "specroute_pool_demand", profile="ngram") is None
    next(iter(harness.pools)).demand = 2.5
    assert value(metrics, "specroute_pool_demand", profile="vanilla") == 2.5
    harness.ngram.status_error = gone()
    await harness.pools.poll()
    assert value(metrics, "specroute_pool_up", profile="ngram") == 0
    assert value(metrics, "specroute_pool_up", profile="vanilla") == 1
    assert value(metrics, "specroute_ready") == 1


async def test_a_rejected_policy_and_the_store(tmp_path: Path) -> None:
    """Whose newer text cannot be used; a store that never answered has no time of contact."""
    harness = await Harness(tmp_path).ready()
    metrics = metrics_of(harness)
    assert value(metrics, "specroute_policy_rejected", source="file") == 0
    assert value(metrics, "specroute_store_last_contact_timestamp_seconds") is None
    harness.policy_file.write_text("broken")
    harness.policies.reload()
    assert value(metrics, "specroute_policy_rejected", source="file") == 1
    assert value(metrics, "specroute_policy_rejected", source="store") == 0


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
    metrics = Metrics(state_of(await Harness(tmp_path).ready()), drafting=["ngram"])
    rose = {"profile": "ngram", "kind": "task_rose", "task": "code"}
    assert value(metrics, "specroute_drift_events_total", **rose) == 0
    for kind, task in (("task_fell", "code"), ("task_fell", "code"), ("drafter_rot", None)):
        metrics.on_drift(DriftEvent(kind, "ngram", task, T0, 0.7, 0.4, 12))  # type: ignore[arg-type]
    counted = {"profile": "ngram", "kind": "task_fell", "task": "code"}
    assert value(metrics, "specroute_drift_events_total", **counted) == 2
    assert value(metrics, "specroute_drift_events_total", profile="ngram", kind="drafter_rot", task="") == 1

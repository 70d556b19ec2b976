"""How long answers and prompts get, how long one waits, and how good predictions were."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cost import (
    OutputLengths,
    PredictionError,
    PromptLengths,
    ServiceTimes,
    StepLoad,
    StepTime,
    prefill_s,
    queue_wait_s,
)
from policies.cost.latency import HALF_LIFE_S, PRIOR_TOKENS

pytestmark = pytest.mark.unit

T0 = 1_700_000_000.0


# -- output lengths


def answered(
    lengths: OutputLengths,
    tokens: list[int],
    task: str = "code",
    tenant: str | None = None,
    now_s: float = T0,
) -> None:
    for count in tokens:
        lengths.observe(task, tenant, count, cut=False, now_s=now_s)


def test_an_unknown_task_answers_at_the_prior_length() -> None:
    """Before anything was seen."""
    assert OutputLengths().expected("code", "acme", None, T0) == PRIOR_TOKENS


def test_a_tasks_length_is_learned() -> None:
    """After many answers, their mean; other tasks know nothing of it."""
    lengths = OutputLengths()
    answered(lengths, [300, 500] * 100)
    assert lengths.expected("code", None, None, T0) == pytest.approx(400, rel=0.02)
    assert lengths.expected("chat", None, None, T0) == PRIOR_TOKENS


def test_a_tenant_departs_from_its_task_as_it_is_seen() -> None:
    """One answer moves a tenant a little, many all the way; the others stay at the task."""
    lengths = OutputLengths()
    answered(lengths, [100] * 500)
    answered(lengths, [1000], tenant="acme")
    first = lengths.expected("code", "acme", None, T0)
    assert 100 < first < 300
    answered(lengths, [1000] * 500, tenant="acme")
    assert lengths.expected("code", "acme", None, T0) > 900
    assert lengths.expected("code", "beta", None, T0) == lengths.expected("code", None, None, T0)


@pytest.mark.parametrize("limit", [16, 64, 1000])
def test_answers_that_were_cut_would_have_been_longer(limit: int) -> None:
    """From geometric answers cut at a limit, the mean of the whole ones comes back."""
    rng, lengths = Random(5), OutputLengths()
    for _ in range(4000):
        tokens = 1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / 200))
        lengths.observe("code", None, min(tokens, limit), cut=tokens > limit, now_s=T0)
    assert lengths.expected("code", None, None, T0) == pytest.approx(200, rel=0.12)


@given(st.integers(1, 100_000), st.floats(1, 5000))
def test_no_answer_is_expected_beyond_its_limit(limit: int, mean: float) -> None:
    """At least one token, at most the limit and the mean, and more where the limit is higher."""
    lengths = OutputLengths()
    answered(lengths, [int(mean)] * 20)
    expected = lengths.expected("code", None, limit, T0)
    assert 1 <= expected <= limit * (1 + 1e-9)
    assert expected <= lengths.expected("code", None, None, T0) * (1 + 1e-9)
    assert expected <= lengths.expected("code", None, limit + 1, T0) * (1 + 1e-9)


def test_a_short_limit_is_nearly_all_used_by_a_long_task() -> None:
    """E[min(N, 16)] of answers of 1000 tokens is close to 16."""
    lengths = OutputLengths()
    answered(lengths, [1000] * 100)
    assert lengths.expected("code", None, 16, T0) == pytest.approx(15.9, abs=0.1)


def test_lengths_are_forgotten_by_half_lives() -> None:
    """A task that changed its ways is believed; one that was not seen for long returns to the prior."""
    lengths = OutputLengths()
    answered(lengths, [1000] * 100)
    later = T0 + 4 * HALF_LIFE_S
    answered(lengths, [100] * 100, now_s=later)
    assert lengths.expected("code", None, None, later) == pytest.approx(150, rel=0.05)
    assert lengths.expected("code", None, None, T0 + 40 * HALF_LIFE_S) == pytest.approx(
        PRIOR_TOKENS, rel=0.01
    )


def test_a_clock_that_steps_back_forgets_nothing() -> None:
    """And does not count twice."""
    lengths = OutputLengths()
    answered(lengths, [400] * 50)
    before = lengths.expected("code", None, None, T0)
    answered(lengths, [400] * 50, now_s=T0 - 3600)
    assert lengths.expected("code", None, None, T0 - 7200) >= before


def test_tenants_are_bounded() -> None:
    """The quietest tenant is dropped for a new one, and reads as its task."""
    lengths = OutputLengths(max_tenants=2)
    for tenant in ("a", "b", "c"):
        answered(lengths, [1000] * 50, tenant=tenant)
    answered(lengths, [10] * 5000)
    assert lengths.expected("code", "a", None, T0) == lengths.expected("code", None, None, T0)
    assert lengths.expected("code", "c", None, T0) > 500


def test_answers_without_tokens_teach_nothing() -> None:
    """Zero or negative counts are ignored."""
    lengths = OutputLengths()
    answered(lengths, [0, -5])
    assert lengths.expected("code", None, None, T0) == PRIOR_TOKENS


# -- prompts


def test_tokens_per_byte_are_learned() -> None:
    """From the prior of four bytes a token to what this traffic has."""
    prompts = PromptLengths()
    assert prompts.tokens(4000, T0) == pytest.approx(1000)
    for _ in range(200):
        prompts.observe("code", 3000, 1000, 0, T0)
    assert prompts.tokens(3000, T0) == pytest.approx(1000, rel=0.01)


def test_what_the_cache_holds_need_not_be_computed() -> None:
    """By task; at least the last token of a prompt always is."""
    prompts = PromptLengths()
    for _ in range(200):
        prompts.observe("rag", 4000, 1000, 800, T0)
        prompts.observe("chat", 4000, 1000, 0, T0)
    assert prompts.uncached_tokens("rag", 4000, T0) == pytest.approx(200, rel=0.02)
    assert prompts.uncached_tokens("chat", 4000, T0) == pytest.approx(1000, rel=0.02)
    assert prompts.uncached_tokens("rag", 1, T0) == 1


@pytest.mark.parametrize(
    ("size", "tokens", "cached"), [(0, 5, 0), (10, 0, 0), (10, 5, 6), (10, 5, -1), (-1, 5, 0)]
)
def test_impossible_prompts_are_ignored(size: int, tokens: int, cached: int) -> None:
    """More cached than there are, or none of anything."""
    prompts = PromptLengths()
    prompts.observe("code", size, tokens, cached, T0)
    assert prompts.uncached_tokens("code", 4000, T0) == 1000


def test_a_prompt_takes_a_pass_and_its_tokens() -> None:
    """Base and per-token time, beside whatever is decoded in the same passes."""
    step_time = StepTime(base=0.02, per_request=0.001, per_prefill=0.0005)
    assert prefill_s(step_time, 100) == pytest.approx(0.07)
    assert prefill_s(step_time, 100, StepLoad(requests=4)) == pytest.approx(0.074)


# -- waiting


def test_one_waits_where_all_slots_are_taken() -> None:
    """A slot comes free every service time divided by the slots, and who waits already goes first."""
    assert queue_wait_s(3, 4, 8.0) == 0
    assert queue_wait_s(4, 4, 8.0) == 2.0
    assert queue_wait_s(7, 4, 8.0) == 8.0


def test_service_times_start_at_what_is_expected() -> None:
    """And follow what was measured; numbers that are none are ignored."""
    services = ServiceTimes()
    assert services.mean_s("ngram", 5.0, T0) == 5.0
    for seconds in [2.0] * 200 + [math.nan, -1.0, math.inf]:
        services.observe("ngram", seconds, T0)
    assert services.mean_s("ngram", 5.0, T0) == pytest.approx(2.0, rel=0.02)
    wait = services.queue_wait_s("ngram", in_flight=4, capacity=4, expected_s=5.0, now_s=T0)
    assert wait == pytest.approx(0.5, rel=0.02)


# -- predictions


def test_the_ratio_is_a_geometric_mean() -> None:
    """Half as long and twice as long cancel, and show in the spread."""
    errors = PredictionError()
    assert errors.accuracy("ngram", T0) is None
    for predicted_s in (1.0, 4.0) * 10:
        assert errors.observe("ngram", predicted_s=predicted_s, measured_s=2.0, now_s=T0)
    found = errors.accuracy("ngram", T0)
    assert found is not None
    assert (found.ratio, found.spread) == pytest.approx((1.0, math.log(2)), rel=0.01)
    assert found.requests == pytest.approx(20, rel=0.1)
    assert dict(errors.items(T0)) == {"ngram": found}


def test_early_predictions_are_soon_forgotten() -> None:
    """Those of a model that knew nothing: a few hundred requests later they no longer show."""
    errors = PredictionError()
    for predicted_s in [10.0] * 20 + [1.0] * 500:
        errors.observe("ngram", predicted_s=predicted_s, measured_s=1.0, now_s=T0)
    found = errors.accuracy("ngram", T0)
    assert found is not None
    assert found.ratio == pytest.approx(1.0, abs=0.02)


def test_the_error_starts_at_its_prior() -> None:
    """And becomes the root mean square of the log-ratio, bias included."""
    errors = PredictionError()
    assert errors.error("ngram", 0.3, T0) == pytest.approx(0.3)
    for _ in range(500):
        errors.observe("ngram", predicted_s=1.1, measured_s=1.0, now_s=T0)
    assert errors.error("ngram", 0.3, T0) == pytest.approx(math.log(1.1), rel=0.15)


@pytest.mark.parametrize(
    ("predicted_s", "measured_s"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.inf)]
)
def test_impossible_times_count_nowhere(predicted_s: float, measured_s: float) -> None:
    """Refused, and said so."""
    errors = PredictionError()
    assert not errors.observe("ngram", predicted_s=predicted_s, measured_s=measured_s, now_s=T0)
    assert errors.accuracy("ngram", T0) is None


def test_one_broken_clock_does_not_hide_the_rest() -> None:
    """A ratio of a billion among a hundred good ones moves the mean by less than 5 %."""
    errors = PredictionError()
    for _ in range(100):
        errors.observe("ngram", predicted_s=1.0, measured_s=1.0, now_s=T0)
    errors.observe("ngram", predicted_s=1e9, measured_s=1.0, now_s=T0)
    found = errors.accuracy("ngram", T0)
    assert found is not None
    assert found.ratio < 1.05

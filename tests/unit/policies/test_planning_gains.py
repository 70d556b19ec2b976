"""Expected speedups: the worked numbers, break-even, and what load makes of them."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.planning import (
    GPUS,
    KNOWN,
    Draft,
    Engine,
    Load,
    draft_of,
    gains,
    precision_of,
    shape_of,
    size_verdict,
)
from policies.planning.gains import break_even, cost_per_token, plain_step_s, verification
from policies.speedup import StepCost, geometric_length, rule_of_thumb_speedup, two_model_speedup

pytestmark = pytest.mark.unit

ONE = Load(context=1024, concurrency=1)


def engine(
    target: str, drafter: str | None = None, method: str = "draft_model", gpu: str = "h100-80gb"
) -> Engine:
    config = KNOWN[drafter] if drafter else KNOWN[target]
    shape = shape_of(KNOWN[target])
    return Engine(
        target=shape,
        precision=precision_of(KNOWN[target]),
        gpu=GPUS[gpu],
        draft=draft_of(method, shape, config),
        draft_precision=precision_of(config),
        k=8,
    )


PAIR = engine("llama-3.3-70b-instruct", "llama-3.1-8b-instruct")


def test_the_rule_of_thumb() -> None:
    """With k = 4 and alpha = 0.75 it says 2.125."""
    (gain,) = gains(PAIR, ONE, lengths=(4,), acceptances=(0.75,))
    assert gain.rule == {0.75: 2.125}
    assert rule_of_thumb_speedup(0.75, 4) == 2.125


def test_the_formula_with_a_draft_cost() -> None:
    """(1 - a^(k+1)) / ((1 - a)(1 + k c)) with the c that is given."""
    (gain,) = gains(PAIR, ONE, lengths=(4,), acceptances=(0.75,), draft_cost=0.1)
    assert gain.alone[0.75] == pytest.approx((1 - 0.75**5) / ((1 - 0.75) * (1 + 4 * 0.1)))


def test_the_worked_check_of_twelve_tokens() -> None:
    """12 tokens, 3 accepted per round, k = 4, c = 1/6: 4 passes and 16 drafts are 6.7 target passes."""
    rounds, k, cost = 12 / 3, 4, 1 / 6
    passes = rounds * (1 + k * cost)
    assert passes == pytest.approx(4 + 16 / 6)
    assert round(passes, 1) == 6.7
    # The same by the formula, at the alpha with which a round yields three tokens.
    alpha = break_even(3, k)
    assert alpha is not None
    assert 12 / two_model_speedup(alpha, k, cost) == pytest.approx(passes)


@given(st.floats(0, 3), st.integers(1, 16))
def test_break_even_is_where_the_speedup_is_one(cost: float, k: int) -> None:
    """By the formula itself; None only where accepting everything would not do."""
    alpha = break_even(1 + k * cost, k)
    if alpha is None:
        assert two_model_speedup(1.0, k, cost) < 1
    else:
        assert two_model_speedup(alpha, k, cost) == pytest.approx(1, abs=1e-6)


@given(st.integers(1, 256), st.integers(128, 16_384), st.sampled_from([1, 3, 5, 8]))
def test_break_even_at_load_is_where_the_loaded_speedup_is_one(requests: int, context: int, k: int) -> None:
    """And load never makes a step cheaper than one that checks for free."""
    (gain,) = gains(PAIR, Load(context, requests), lengths=(k,))
    if gain.loaded_break_even is not None:
        assert geometric_length(gain.loaded_break_even, k) / gain.step == pytest.approx(1, abs=1e-6)
    assert gain.step >= 1


@given(st.floats(0, 1), st.floats(0, 0.3))
def test_more_acceptance_is_never_slower(alpha: float, more: float) -> None:
    """At every k."""
    alphas = (alpha, min(1.0, alpha + more))
    for gain in gains(PAIR, ONE, acceptances=alphas):
        assert gain.alone[alphas[0]] <= gain.alone[alphas[1]] + 1e-12


def test_draft_cost_is_the_bytes_of_both() -> None:
    """8 B against 70 B parameters at one request: about their ratio; quantised, less; a head, a fiftieth."""
    cost = cost_per_token(PAIR, ONE, 4)
    assert cost == pytest.approx(8.03 / 70.55, rel=0.05)
    eight = precision_of({}, quantization="int4")
    assert cost_per_token(replace(PAIR, draft_precision=eight), ONE, 4) < cost / 2
    head = engine("llama-3.1-8b-instruct", "llama-3.1-8b-instruct-eagle3", "eagle3")
    assert cost_per_token(head, ONE, 4) == pytest.approx(0.053, abs=0.01)
    assert cost_per_token(replace(PAIR, draft=Draft("ngram")), ONE, 4) == 0


def test_heads_that_draft_in_one_pass_cost_once() -> None:
    """However many tokens they draft."""
    target = shape_of(KNOWN["llama-3.1-8b-instruct"])
    medusa = draft_of("medusa", target, {"num_heads": 8})
    one = replace(engine("llama-3.1-8b-instruct", "llama-3.1-8b-instruct"), draft=medusa)
    assert 8 * cost_per_token(one, ONE, 8) == pytest.approx(2 * cost_per_token(one, ONE, 2))


def test_checking_is_free_for_one_request_of_a_dense_model() -> None:
    """Its weights are read once; with many requests arithmetic takes longer than reading."""
    assert verification(PAIR, ONE, 5) == pytest.approx(1)
    assert verification(PAIR, Load(128, 256), 5) > 2


def test_checking_reads_more_experts() -> None:
    """A mixture of experts pays for drafts even alone."""
    assert verification(engine("qwen3-30b-a3b", "qwen3-0.6b"), ONE, 5) > 2


def test_a_step_takes_its_bytes() -> None:
    """Llama 3.1 8B on an H100: 15 GB at 3350 GB/s are 4.5 ms; on an unknown machine nobody knows."""
    plain = engine("llama-3.1-8b-instruct", method="none")
    step_s = plain_step_s(plain, ONE)
    assert step_s == pytest.approx(0.0045, rel=0.03)


def test_a_measured_verification_stands_in_for_the_roofline() -> None:
    """The embedded model: 1 + 0.7 + 0.01 k plain steps."""
    one = engine("smollm2-135m-instruct", method="none")
    (gain,) = gains(one, ONE, lengths=(4,), measured=StepCost(0.7, 0.01, 0.0))
    assert gain.step == pytest.approx(1.74)
    assert gain.break_even == 0


@pytest.mark.parametrize(
    ("drafter", "target", "verdict"),
    [
        ("llama-3.1-8b-instruct", "llama-3.3-70b-instruct", "good"),
        ("qwen3-0.6b", "qwen3-8b", "good"),
        ("qwen3-8b", "qwen3-14b", "flagged"),  # over 30 %
        ("qwen3-4b", "qwen3-14b", "fair"),
        ("qwen3-0.6b", "qwen3-32b", "fair"),
    ],
)
def test_sizes_of_standalone_drafters(drafter: str, target: str, verdict: str) -> None:
    """5 to 20 times smaller is good, over 30 % is flagged."""
    pair = engine(target, drafter)
    assert size_verdict(pair.draft, pair.target).verdict == verdict


def test_tiny_drafters_are_flagged_and_heads_exempt() -> None:
    """Under 50 M parameters; but a head of 20 M or of half the target is what it is."""
    tiny = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 256, "num_hidden_layers": 4}
    tiny |= {"num_attention_heads": 4, "intermediate_size": 1024}
    target = shape_of(KNOWN["llama-3.2-1b-instruct"])
    found = size_verdict(draft_of("draft_model", target, tiny), target)
    assert (found.verdict, "under 50 M" in found.words) == ("flagged", True)
    assert size_verdict(draft_of("eagle3", target, tiny), target).verdict == "exempt"
    assert size_verdict(Draft("ngram"), target).verdict == "exempt"


def test_of_experts_those_count_that_a_token_meets() -> None:
    """30 B parameters of which 3.3 B are read per token: a drafter of 4 B is no small one."""
    pair = engine("qwen3-30b-a3b", "qwen3-4b")
    found = size_verdict(pair.draft, pair.target)
    assert found.verdict == "flagged"
    assert re.search(r"over 30 % of the target \(1\d\d% of the 3.\d B that a token meets\)", found.words)
    small = engine("qwen3-30b-a3b", "qwen3-0.6b")
    found = size_verdict(small.draft, small.target)
    assert found.verdict == "good"
    assert "times smaller than the 3." in found.words

"""The account of a request, from outputs as vLLM delivers them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from replicas.frames import packed
from replicas.observation import Observation

pytestmark = pytest.mark.unit


def log(drafted: list[int], accepted: list[int]) -> Any:
    return SimpleNamespace(per_step_drafted=drafted, per_step_accepted=accepted)


def output(
    *tokens: int,
    finish: str | None = None,
    steps: Any = None,
    index: int = 0,
    times: Any = None,
    cached: int | None = 0,
) -> Any:
    """A stand-in of vLLM's RequestOutput with one completion."""
    completion = SimpleNamespace(
        index=index, token_ids=list(tokens), finish_reason=finish, spec_decode_metrics=steps
    )
    return SimpleNamespace(
        outputs=[completion], prompt_token_ids=[1, 2, 3], num_cached_tokens=cached, metrics=times
    )


def observed(*outputs: Any, speculative: bool = True, choices: int = 1) -> Observation:
    observation = Observation(k=4, speculative=speculative)
    sequence = observation.begin(choices=choices)
    for each in outputs:
        observation.observe(sequence, each)
    return observation


def test_deltas_add_up() -> None:
    """A stream's outputs carry new tokens each; the last one the step counts."""
    ending = observed(output(7), output(8, 9), output(4, finish="length", steps=log([3, 0], [1, 0]))).ending()
    assert ending.completion_tokens == 4
    assert (ending.per_step_drafted, ending.per_step_accepted) == ((3, 0), (1, 0))
    assert ending.counted
    assert ending.finish_reason == "length"
    assert ending.prompt_tokens == 3


def test_one_final_output_is_the_whole_account() -> None:
    """Unstreamed requests deliver everything at once."""
    ending = observed(output(7, 8, 9, finish="stop", steps=log([2], [1]), cached=2)).ending()
    assert (ending.completion_tokens, ending.counted, ending.cached_tokens) == (3, True, 2)


def test_tokens_are_handed_out_once() -> None:
    """Each frame takes what came since the one before."""
    observation = Observation(k=4, speculative=True)
    sequence = observation.begin(choices=1)
    observation.observe(sequence, output(1))
    observation.observe(sequence, output(2, 3))
    assert observation.take_tokens(last=True) == (1, 2, 3)
    assert observation.take_tokens(last=True) == ()
    observation.observe(sequence, output(4))
    assert observation.take_tokens(last=True) == (4,)


def test_several_choices_are_summed_and_not_counted() -> None:
    """With n = 2 there are no token ids and no steps."""
    observation = observed(
        output(1, 2, finish="stop", steps=log([0], [0])), output(3, index=1, finish="length"), choices=2
    )
    ending = observation.ending()
    assert observation.take_tokens(last=True) == ()
    assert (ending.completion_tokens, ending.counted, ending.finish_reason) == (3, False, None)
    assert (ending.per_step_drafted, ending.per_step_accepted) == ((), ())
    assert ending.ttft_s is None


def test_several_prompts_are_summed_and_not_counted() -> None:
    """The prompts too are summed."""
    observation = Observation(k=4, speculative=True)
    first, second = observation.begin(choices=1), observation.begin(choices=1)
    observation.observe(first, output(1, 2, finish="stop", cached=1))
    observation.observe(second, output(3, finish="stop", cached=None))
    ending = observation.ending()
    assert (ending.prompt_tokens, ending.completion_tokens, ending.cached_tokens) == (6, 3, 1)
    assert not ending.counted
    assert observation.take_tokens(last=True) == ()


def test_a_search_that_begins_with_one_sequence_is_not_taken_for_one() -> None:
    """Beam search asks for single tokens of ever more sequences; the first one's token is not the answer."""
    observation = observed(output(1, finish="length"))
    observation.observe(observation.begin(choices=1), output(2, finish="length"))
    assert observation.take_tokens(last=True) == ()
    assert observation.ending().finish_reason is None


@pytest.mark.parametrize(
    "steps",
    [None, log([1], [0]), log([1, 1], [1, 1])],
    ids=["stop string: none", "too few", "too many"],
)
def test_steps_that_do_not_add_up_are_no_evidence(steps: Any) -> None:
    """Tokens = 1 + sum(1 + accepted), or the counts are withheld."""
    ending = observed(output(1, 2, 3, finish="stop", steps=steps)).ending()
    assert (ending.counted, ending.per_step_drafted, ending.completion_tokens) == (False, (), 3)


def test_a_plain_engine_decodes_one_token_a_step() -> None:
    """Its steps follow from the tokens."""
    ending = observed(output(1), output(2), output(3, finish="stop"), speculative=False).ending()
    assert (ending.per_step_drafted, ending.per_step_accepted, ending.counted) == ((0, 0), (0, 0), True)


@pytest.mark.parametrize("speculative", [False, True])
def test_an_unfinished_request_is_not_counted(speculative: bool) -> None:
    """Nor one that never began, as refused requests do not."""
    assert not observed(output(1), output(2), speculative=speculative).ending().counted
    nothing = Observation(k=4, speculative=speculative).ending()
    assert (nothing.counted, nothing.completion_tokens, nothing.prompt_tokens) == (False, 0, 0)


def test_a_single_token_is_counted_without_steps() -> None:
    """The prefill step made it."""
    ending = observed(output(1, finish="length", steps=log([], []))).ending()
    assert (ending.counted, ending.per_step_drafted) == (True, ())


def test_times_are_differences_of_the_cores_clock() -> None:
    """Queued until scheduled, first token since arrival, decoding from the first to the last token."""
    times = SimpleNamespace(queued_ts=10.0, scheduled_ts=10.5, first_token_ts=11.0, last_token_ts=14.0)
    ending = observed(output(1, finish="length", times=times)).ending()
    assert (ending.queued_s, ending.ttft_s, ending.decode_s) == (0.5, 1.0, 3.0)


def test_times_that_were_not_taken_are_unknown() -> None:
    """Never zero."""
    times = SimpleNamespace(queued_ts=10.0, scheduled_ts=0.0, first_token_ts=0.0, last_token_ts=0.0)
    ending = observed(output(1, finish="length", times=times)).ending()
    assert (ending.queued_s, ending.ttft_s, ending.decode_s) == (None, None, None)


def test_the_prompt_is_handed_out_once_where_it_is_wanted() -> None:
    """As soon as an output says what it is; several texts have no single prompt."""
    observation = Observation(k=4, speculative=True, prompt_tokens=True)
    sequence = observation.begin(choices=1)
    assert observation.take_prompt() == b""
    observation.observe(sequence, output(7))
    assert observation.take_prompt() == packed([1, 2, 3]) == b"\1\0\0\0\2\0\0\0\3\0\0\0"
    assert observation.take_prompt() == b""
    assert observed(output(7)).take_prompt() == b""
    several = Observation(k=4, speculative=True, prompt_tokens=True)
    several.observe(several.begin(choices=2), output(7))
    assert several.take_prompt() == b""

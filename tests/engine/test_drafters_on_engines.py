"""Every drafter with weights of its own, in a real engine: what it accepts, each request's k, and the answers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_client import Answer, EngineHost
from test_equality import ROUNDING, gap_at_first_difference
from test_steps import check_steps
from tiny_drafters import (
    HEADS,
    K,
    distilled,
    write_eagle,
    write_medusa,
    write_model,
    write_mtp,
    write_parallel,
    write_twin,
)

from drafters.corpus import Corpus, Place, batches, load
from drafters.distilling import ANSWERS, DRAFTER
from drafters.export import load_drafter
from drafters.measuring import Counts, measure
from drafters.recording import recorded
from drafters.target import Target
from policies.cost import StepLoad, fit
from replicas.hardware import available_cores
from replicas.profiles import Profile

pytestmark = pytest.mark.engine

SMALL: dict[str, Any] = {"max_num_seqs": 8}
ENOUGH = 100


@dataclass(frozen=True)
class Known:
    """A greedy answer that the target gave in plain torch, and what was asked."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def body(self, *, beyond: int = 0) -> dict[str, Any]:
        """The request that should be answered so, and go on for `beyond` tokens."""
        return {
            "prompt": list(self.prompt),
            "max_tokens": len(self.answer) + beyond,
            "temperature": 0,
            "ignore_eos": True,
        }


@dataclass(frozen=True)
class Made:
    """The tiny model, the same with MTP layers, drafters for it, and recorded answers."""

    model: Path
    with_layers: Path
    drafters: Mapping[str, Path]
    places: Sequence[Place]

    def known(self) -> list[Known]:
        """The recorded answers as token ids."""
        found = []
        for place in self.places:
            tokens = load([place]).tokens[0].tolist()
            cut = place.entry.prompt
            found.append(Known(tuple(tokens[:cut]), tuple(tokens[cut:])))
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    model = write_model(folder / "model")
    run = distilled(folder / "run", model)
    corpus = Corpus(recorded(run / ANSWERS, source=None, say=print))
    drafters = {
        "eagle3": run / DRAFTER,
        "draft": write_twin(folder / "twin", model),
        "medusa": write_medusa(folder / "medusa", model),
        "eagle": write_eagle(folder / "eagle", model),
        "parallel": write_parallel(folder / "parallel", model),
    }
    with_layers = write_mtp(folder / "with_layers", model)
    greedy = [place for place in corpus.learned + corpus.held_out if not place.entry.request.temperature]
    yield Made(model, with_layers, drafters, greedy)
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def engines(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, EngineHost]]:
    profiles = [
        Profile(name="eagle3", method="eagle3", k=K, draft_model=str(made.drafters["eagle3"]), **SMALL),
        Profile(
            name="draft",
            method="draft_model",
            k=K,
            draft_model=str(made.drafters["draft"]),
            draft_options={"use_heterogeneous_vocab": True},
            **SMALL,
        ),
        Profile(name="medusa", method="medusa", k=HEADS, draft_model=str(made.drafters["medusa"]), **SMALL),
        Profile(name="eagle", method="eagle", k=K, draft_model=str(made.drafters["eagle"]), **SMALL),
        Profile(name="mtp", method="mtp", k=K, **SMALL),
        Profile(
            name="parallel",
            method="draft_model",
            k=K,
            draft_model=str(made.drafters["parallel"]),
            draft_options={"parallel_drafting": True},
            **SMALL,
        ),
    ]
    if find_spec("arctic_inference") is not None:
        profiles.append(Profile(name="suffix", method="suffix", k=K, **SMALL))
    scratch, cores = tmp_path_factory.mktemp("drafting"), available_cores()
    started = [
        EngineHost(
            profile,
            cores[number % len(cores)],
            made.with_layers if profile.method == "mtp" else made.model,
            scratch,
        )
        for number, profile in enumerate(profiles)
    ]
    try:
        for host in started:
            host.wait_until_ready()
        yield {host.profile.name: host for host in started}
    finally:
        with ThreadPoolExecutor() as threads:
            list(threads.map(EngineHost.stop, started))


def test_an_engine_accepts_what_was_measured(made: Made, engines: dict[str, EngineHost]) -> None:
    """An exported head drafts in vLLM as in plain torch: in the same steps the same drafts are accepted."""
    target = Target.load(made.model)
    head, draft_tokens = load_drafter(made.drafters["eagle3"], target.shape)
    groups = [load(group) for group in batches(made.places, tokens=2000, order=random.Random(0))]
    expected = measure(head, target.embedding, target.head, draft_tokens, groups, k=K).total
    found = Counts.of(K)
    asked = [one.body(beyond=1 + K) for one in made.known()]
    replies = [engines["eagle3"].start(body, k=K) for body in asked]
    for one, reply in zip(made.known(), replies, strict=True):
        found.add(counts(Answer(list(reply)), len(one.answer)))
    assert expected.accepted[0] > ENOUGH, "without accepted drafts nothing has been compared"
    assert found.tokens == expected.tokens
    # Two drafts that are equally likely but for rounding may change places.
    assert sum(found.reached) == pytest.approx(sum(expected.reached), rel=0.02)
    assert sum(found.accepted) == pytest.approx(sum(expected.accepted), rel=0.02)


def counts(answer: Answer, answered: int) -> Counts:
    """An engine's steps over the first `answered` tokens behind the one that came with the prompt."""
    check_steps(answer, K)
    found = Counts.of(K)
    at = 0
    for kept in answer.ending.per_step_accepted:
        if at >= answered:
            break
        possible = min(K, answered - at)
        accepted = min(kept, possible)
        found.add(
            Counts(
                [int(position <= accepted and position < possible) for position in range(K)],
                [int(position < accepted) for position in range(K)],
                steps=1,
                tokens=min(accepted + 1, answered - at),
            )
        )
        at += kept + 1
    return found


@pytest.mark.parametrize("method", ["eagle3", "draft", "medusa", "suffix", "eagle", "mtp", "parallel"])
def test_requests_of_a_mixed_batch_draft_with_their_k(
    made: Made, engines: dict[str, EngineHost], method: str
) -> None:
    """Decoded together, each request drafts as many tokens as its own k, and says what plain torch said."""
    if method not in engines:
        pytest.skip("arctic-inference is not installed")
    engine = engines[method]
    most = engine.profile.k
    asked = [(number % (most + 1), one) for number, one in enumerate(made.known())]
    replies = [engine.start(one.body(), k=k) for k, one in asked]
    accepted = [0] * (most + 1)
    unexplained = []
    for (k, one), reply in zip(asked, replies, strict=True):
        answer = Answer(list(reply))
        check_steps(answer, k)
        assert max(answer.ending.per_step_drafted) <= k
        if method != "suffix":  # which drafts as far as it has seen this before
            assert max(answer.ending.per_step_drafted) == k
        accepted[k] += sum(answer.ending.per_step_accepted)
        if answer.token_ids != list(one.answer):
            gap = gap_at_first_difference(one.answer, answer.token_ids, engine, one.body())
            unexplained += [(k, gap, one)] if gap >= ROUNDING else []
    assert unexplained == []
    assert accepted[0] == 0
    assert accepted[most] > 0, "without accepted drafts nothing has been compared"


@pytest.mark.parametrize("name", ["eagle3", "draft", "medusa", "eagle", "mtp", "parallel"])
def test_an_idle_engine_times_passes_on_every_k(engines: dict[str, EngineHost], name: str) -> None:
    """Of one request each, on k = 0, 1, 2 and the largest; what traffic taught stays as it was."""
    host = engines[name]
    host.answer({"prompt": "1 2 3", "max_tokens": 80, "temperature": 0, "ignore_eos": True}, k=2)
    _, taught = host.passes()
    moments = host.rehearse()
    records, after = host.passes()
    assert after.to_list() == taught.to_list()
    decoding = [load for load, _ in records if load.requests]
    assert {load.requests for load in decoding} == {1}
    drafted = {load.drafted for load in decoding}
    assert drafted >= {0, 1, 2, host.profile.k}
    assert max(drafted) == host.profile.k
    assert moments.steps > 60
    step_time = fit(moments, host.profile.step_cost.seed()).step_time
    assert max(load.context for load in decoding) > 5 * min(load.context for load in decoding)
    for k in (0, 1, 2, host.profile.k):
        assert step_time.seconds(StepLoad(1, float(k > 0), k, max(1, k))) > 0


def test_a_drafter_with_another_tokenizer_is_understood(made: Made, engines: dict[str, EngineHost]) -> None:
    """Token ids are translated both ways: the target's twin with other ids foresees nearly all it says."""
    replies = [engines["draft"].start(one.body(), k=K) for one in made.known()]
    endings = [Answer(list(reply)).ending for reply in replies]
    drafted = sum(sum(ending.per_step_drafted) for ending in endings)
    assert sum(sum(ending.per_step_accepted) for ending in endings) > 0.9 * drafted

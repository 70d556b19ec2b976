"""Keys that are passed to vLLM as they stand are compared with its own before anything starts."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from replicas import vllm_keys
from replicas.profiles import ModelSpec, Profile
from replicas.vllm_keys import ENGINE, SERVER, SPECULATIVE, known_keys, unknown_keys

pytestmark = pytest.mark.unit


def test_a_key_that_vllm_does_not_know_is_refused() -> None:
    """In each of the three places, with the closest one it knows."""
    model = ModelSpec(server_args={"tool_call_parsr": "hermes"})
    profiles = [
        Profile(name="v", engine_args={"gpu_memory_utilisation": 0.8, "seed": 3}),
        Profile(name="n", method="ngram", k=4, draft_options={"disable_padded_drafter_batches": True}),
    ]
    found = list(unknown_keys(profiles, model))
    assert [line.partition(": ")[0] for line in found] == [
        "model.server_args.tool_call_parsr",
        "profiles.v.engine_args.gpu_memory_utilisation",
        "profiles.n.draft_options.disable_padded_drafter_batches",
    ]
    assert "gpu_memory_utilization" in found[1]


@pytest.mark.parametrize(
    ("taker", "key"),
    [(ENGINE, "enable_prefix_caching"), (SPECULATIVE, "use_heterogeneous_vocab"), (SERVER, "chat_template")],
)
def test_the_names_are_found_in_the_installed_vllm(taker: vllm_keys._Taker, key: str) -> None:
    """A vLLM that keeps them elsewhere would make the check say nothing: then this test asks for the new place."""
    assert key in known_keys(taker)


def test_without_vllm_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows its keys on such a machine, and the same where its files are others."""
    profiles = [Profile(name="v", engine_args={"what": 1})]
    for spec in (None, SimpleNamespace(origin=str(tmp_path / "vllm" / "__init__.py"))):
        known_keys.cache_clear()
        monkeypatch.setattr(vllm_keys, "find_spec", lambda _, spec=spec: spec)
        assert list(unknown_keys(profiles, ModelSpec())) == []
    known_keys.cache_clear()

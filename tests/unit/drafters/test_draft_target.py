"""The target in plain torch agrees with Transformers, and refuses what it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from drafters.errors import DraftError
from drafters.shape import read_shape
from drafters.target import Target
from tests.unit.drafters.tiny_target import CONFIG, tiny_target, weights, write_target

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def reference() -> LlamaForCausalLM:
    """Transformers' model of the same weights."""
    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).eval()
    model.load_state_dict(weights(), strict=False)
    model.tie_weights()
    return model


def test_a_prompt_gives_the_states_that_transformers_gives(reference: Any) -> None:
    """Residual streams before the layers that EAGLE-3 names, the last state, and the scores."""
    tokens = torch.tensor([1, 50, 60, 70, 80, 2])
    target = tiny_target()
    seen = target.prompt(tokens, target.cache(slots=2, length=16), 1)
    with torch.inference_mode():
        expected = reference(tokens[None], output_hidden_states=True)
    for place, layer in enumerate((2, 4, 6)):
        torch.testing.assert_close(seen.aux[:, place], expected.hidden_states[layer][0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(seen.final, expected.hidden_states[-1][0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(target.logits(seen.final), expected.logits[0], atol=1e-4, rtol=1e-4)


def test_steps_of_several_slots_go_on_from_their_own_prompts(reference: Any) -> None:
    """Slots of different lengths, one of them unused, read each its own cache."""
    target = tiny_target()
    cache = target.cache(slots=3, length=16)
    prompts = {0: [1, 50, 60, 2], 2: [1, 90, 2]}
    for slot, tokens in prompts.items():
        target.prompt(torch.tensor(tokens), cache, slot)
    seen = target.step(torch.tensor([30, 0, 31]), torch.tensor([4, 0, 3]), cache)
    for slot, tokens in prompts.items():
        with torch.inference_mode():
            whole = reference(torch.tensor([[*tokens, 30 if slot == 0 else 31]]), output_hidden_states=True)
        torch.testing.assert_close(seen.final[slot], whole.hidden_states[-1][0, -1], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(seen.aux[slot, 2], whole.hidden_states[6][0, -1], atol=1e-5, rtol=1e-4)


def test_a_folder_is_loaded(tmp_path: Path) -> None:
    """Config and weights of a Hugging Face folder."""
    target = Target.load(write_target(tmp_path / "model"))
    assert target.shape.aux_layers == (2, 4, 6)
    torch.testing.assert_close(target.head, tiny_target().head)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "only LlamaForCausalLM"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type yarn"),
        ({"num_hidden_layers": 4}, "too few"),
        ({"vocab_size": 300}, "model.embed_tokens.weight is (260, 32)"),
    ],
)
def test_what_is_not_a_plain_llama_is_refused(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    """With the file or tensor, in one line."""
    folder = write_target(tmp_path)
    (folder / "config.json").write_text(json.dumps(CONFIG | change), encoding="utf-8")
    with pytest.raises(DraftError) as told:
        Target.load(folder)
    assert complaint in str(told.value)
    assert "\n" not in str(told.value)


def test_missing_and_partial_files_are_named(tmp_path: Path) -> None:
    """No config, no tensor, half a weights file."""
    with pytest.raises(DraftError, match=r"config\.json"):
        read_shape(tmp_path)
    some = weights()
    del some["model.layers.3.mlp.up_proj.weight"]
    with pytest.raises(DraftError, match=r"lack model\.layers\.3\.mlp\.up_proj"):
        Target(tiny_target().shape, some)
    file = write_target(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DraftError, match=r"model\.safetensors: not readable"):
        Target.load(tmp_path)

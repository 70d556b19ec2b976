"""A drafter that cannot work is refused by its files, with the reason, before any engine starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from replicas.drafter_check import drafter_problems
from replicas.profiles import Profile
from tests.unit.replicas.stored import write_safetensors

pytestmark = pytest.mark.unit

TARGET = {"model_type": "llama", "hidden_size": 64, "vocab_size": 8}
TOKENS = {"<s>": 0, "</s>": 1, "a": 2, "b": 3}


def folder(path: Path, config: dict[str, Any], tokens: dict[str, int] | None = None, added: Any = ()) -> Path:
    """A model's folder without weights."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config), "utf-8")
    if tokens is not None:
        document = {"model": {"type": "BPE", "vocab": tokens}, "added_tokens": list(added)}
        (path / "tokenizer.json").write_text(json.dumps(document), "utf-8")
    return path


def problems(
    tmp_path: Path, config: dict[str, Any], target: dict[str, Any] = TARGET, **settings: Any
) -> list[str]:
    """What is wrong with a drafter of this configuration."""
    drafter = folder(tmp_path / "drafter", {"model_type": "llama"} | config)
    profile = Profile.model_validate({"name": "p", "draft_model": str(drafter), "k": 3} | settings)
    return list(drafter_problems(profile, folder(tmp_path / "target", target)))


def test_a_head_for_another_model_is_refused(tmp_path: Path) -> None:
    """Its width and its vocabulary are those of the model it was trained for."""
    wide = {"hidden_size": 128, "vocab_size": 9}
    found = problems(tmp_path, wide, method="eagle3")
    assert found == [
        f"profiles.p.draft_model: a head for {what}: it was trained for another model"
        for what in (
            "hidden states of 128, the target's have 64",
            "a vocabulary of 9 tokens, the target's has 8",
        )
    ]


def test_a_head_may_be_narrower_than_its_target(tmp_path: Path) -> None:
    """Where it says what it reads; a reduced draft vocabulary is its own business."""
    head = {"hidden_size": 32, "target_hidden_size": 64, "vocab_size": 8, "draft_vocab_size": 4}
    assert problems(tmp_path, head, method="eagle3") == []


@pytest.mark.parametrize(("width", "works"), [(64, True), (128, False)])
def test_a_target_of_more_than_text_has_its_width_below(tmp_path: Path, width: int, *, works: bool) -> None:
    """Its decoder is described in `text_config`."""
    target = {"model_type": "llava", "text_config": {"hidden_size": 64}}
    assert bool(problems(tmp_path, {"hidden_size": width}, target, method="eagle3")) is not works


def test_a_width_that_nobody_tells_is_no_problem(tmp_path: Path) -> None:
    """The engine will find out."""
    assert problems(tmp_path, {"hidden_size": 64}, {"model_type": "other"}, method="eagle3") == []


def test_k_beyond_the_medusa_heads_is_refused(tmp_path: Path) -> None:
    """One head drafts one position."""
    head = {"hidden_size": 64, "num_heads": 2}
    assert problems(tmp_path, head, method="medusa") == [
        "profiles.p.k: 3 is more than the drafter's 2 heads: set k to 2 or less"
    ]


@pytest.mark.parametrize(
    ("target", "works"),
    [
        (TARGET, False),
        (TARGET | {"num_nextn_predict_layers": 1}, True),
        (TARGET | {"text_config": {"mtp_num_hidden_layers": 1}}, True),
        (TARGET | {"num_nextn_predict_layers": 0}, False),
    ],
)
def test_mtp_needs_a_target_with_such_layers(tmp_path: Path, target: dict[str, Any], *, works: bool) -> None:
    """They are part of the model, or they are not."""
    profile = Profile(name="p", method="mtp", k=1)
    found = list(drafter_problems(profile, folder(tmp_path / "target", target)))
    assert bool(found) is not works
    assert all(line.startswith("profiles.p.method: the target has no MTP layers") for line in found)


@pytest.mark.parametrize(
    ("layers", "k", "works"), [(1, 3, True), (2, 1, True), (2, 4, True), (2, 5, False), (3, 4, False)]
)
def test_mtp_layers_are_gone_through_whole(tmp_path: Path, layers: int, k: int, *, works: bool) -> None:
    """More tokens than layers are a multiple of them, or vLLM refuses; the next smaller k that works is named."""
    target = folder(tmp_path / "target", TARGET | {"num_nextn_predict_layers": layers})
    found = list(drafter_problems(Profile(name="p", method="mtp", k=k), target))
    assert (not found) is works
    if found:
        best = k - k % layers
        assert found == [
            f"profiles.p.k: {k} is more than the target's {layers} MTP layers, and no multiple of them: set k to {best}"
        ]


def test_a_drafter_with_another_vocabulary_is_refused_without_tokenizers_too(tmp_path: Path) -> None:
    """By the sizes that the two models' files tell; vLLM compares no more than those."""
    small = TARGET | {"vocab_size": 6}
    (line,) = problems(tmp_path, small, method="draft_model")
    assert line.startswith("profiles.p.draft_model: a vocabulary of 6 tokens, the target's has 8")
    (tmp_path / "other").mkdir()
    told = {"use_heterogeneous_vocab": True}
    assert problems(tmp_path / "other", small, method="draft_model", draft_options=told) == []


def test_suffix_decoding_names_its_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine would say so after a minute."""
    monkeypatch.setattr("replicas.drafter_check.find_spec", lambda _: None)
    (line,) = drafter_problems(Profile(name="p", method="suffix", k=8), None)
    assert line.startswith("profiles.p.method: suffix needs the package arctic-inference")


def test_a_drafter_with_the_targets_tokenizer_is_taken(tmp_path: Path) -> None:
    """Further tokens at the drafter's end do no harm; what both have is alike."""
    target = folder(tmp_path / "target", TARGET, TOKENS)
    drafter = folder(tmp_path / "drafter", TARGET, TOKENS | {"c": 4})
    profile = Profile(name="p", method="draft_model", k=3, draft_model=str(drafter))
    assert list(drafter_problems(profile, target)) == []


def test_a_swapped_special_token_is_found(tmp_path: Path) -> None:
    """It would end answers where the drafter begins them."""
    swapped = [{"id": 1, "content": "<s>"}, {"id": 0, "content": "</s>"}]
    target = folder(tmp_path / "target", TARGET, TOKENS)
    drafter = folder(tmp_path / "drafter", TARGET, TOKENS, swapped)
    profile = Profile(name="p", method="draft_model", k=3, draft_model=str(drafter))
    (line,) = drafter_problems(profile, target)
    assert "2 tokens differ, as '<s>' is 0 there" in line
    other = profile.model_copy(update={"draft_options": {"use_heterogeneous_vocab": True}})
    assert list(drafter_problems(other, target)) == []


@pytest.mark.parametrize("text", ["", "[]", "{"])
@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_a_broken_file_is_named(tmp_path: Path, file: str, text: str) -> None:
    """In one line, with what to do."""
    target, drafter = folder(tmp_path / "t", TARGET, TOKENS), folder(tmp_path / "d", TARGET, TOKENS)
    (drafter / file).write_text(text, "utf-8")
    profile = Profile(name="p", method="draft_model", k=3, draft_model=str(drafter))
    (line,) = drafter_problems(profile, target)
    assert line.startswith("profiles.p.draft_model: ")
    assert f"{drafter / file}: " in line
    assert line.endswith(": download it again")


@pytest.mark.parametrize("text", ['{"model": 3}', '{"model": {"vocab": 3}}'])
def test_a_tokenizer_of_another_form_says_nothing(tmp_path: Path, text: str) -> None:
    """There are more than one; vLLM knows them."""
    target, drafter = folder(tmp_path / "t", TARGET, TOKENS), folder(tmp_path / "d", TARGET, TOKENS)
    (drafter / "tokenizer.json").write_text(text, "utf-8")
    profile = Profile(name="p", method="draft_model", k=3, draft_model=str(drafter))
    assert list(drafter_problems(profile, target)) == []


HEAD = TARGET | {"architectures": ["LlamaForCausalLMEagle3"], "num_hidden_layers": 1, "draft_vocab_size": 4}
OLD_HEAD = TARGET | {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1, "num_attention_heads": 2}
MODEL = OLD_HEAD | {"num_hidden_layers": 30}
MEDUSA = {"model_type": "medusa", "hidden_size": 64, "vocab_size": 8, "num_heads": 3}
BLOCK = TARGET | {"architectures": ["DFlashDraftModel"], "num_hidden_layers": 5}
SPECULATORS = {
    "speculators_model_type": "eagle3",
    "architectures": ["Eagle3Speculator"],
    "transformer_layer_config": OLD_HEAD,
}


@pytest.mark.parametrize(
    ("config", "methods"),
    [
        (HEAD, {"eagle3"}),
        (SPECULATORS, {"eagle3"}),
        (TARGET | {"architectures": ["EagleLlamaForCausalLM"]}, {"eagle"}),
        (OLD_HEAD, {"eagle", "eagle3", "draft_model", "dflash", "dspark"}),
        (MODEL, {"draft_model", "dspark"}),
        (MEDUSA, {"medusa"}),
        ({"medusa_num_heads": 5, "medusa_num_layers": 1}, {"medusa"}),
        (BLOCK, {"dflash"}),
        (BLOCK | {"architectures": ["Qwen3DSparkModel"]}, {"dspark"}),
    ],
)
def test_a_drafter_is_for_its_method(tmp_path: Path, config: dict[str, Any], methods: set[str]) -> None:
    """By its architecture; what is only a layer of a language model may be an EAGLE head of that name."""
    target, drafter = folder(tmp_path / "t", TARGET), folder(tmp_path / "d", config)
    for method in ("eagle3", "eagle", "draft_model", "medusa", "dflash", "dspark"):
        profile = Profile(name="p", method=method, k=3, draft_model=str(drafter))
        found = list(drafter_problems(profile, target))
        if method in methods:
            assert [line for line in found if ".method: " in line] == [], method
        else:
            (line,) = found
            assert line.startswith(f"profiles.p.method: {method}, but its drafter is "), line
            assert ": set method to " in line


@pytest.mark.parametrize(("tensor", "is_head"), [("fc.weight", True), ("model.norm.weight", False)])
def test_weights_tell_a_head_from_a_model(tmp_path: Path, tensor: str, *, is_head: bool) -> None:
    """Only a head has a matrix that joins the target's states with embeddings."""
    target, drafter = folder(tmp_path / "t", TARGET), folder(tmp_path / "d", OLD_HEAD)
    write_safetensors(drafter / "model.safetensors", {tensor: (2, 2)})
    for method in ("eagle", "draft_model"):
        profile = Profile(name="p", method=method, k=3, draft_model=str(drafter))
        assert (not list(drafter_problems(profile, target))) is (is_head is (method == "eagle"))


def test_an_empty_configuration_is_no_drafters(tmp_path: Path) -> None:
    """Engines choose a model's code by its names."""
    drafter = folder(tmp_path / "d", {})
    profile = Profile(name="p", method="draft_model", k=3, draft_model=str(drafter))
    (line,) = drafter_problems(profile, None)
    assert line.startswith(f"profiles.p.draft_model: {drafter / 'config.json'}: neither model_type nor")


@pytest.mark.parametrize(
    ("settings", "mask"),
    [
        ({"method": "dflash"}, {"dflash_config": {"mask_token_id": 7}}),
        ({"method": "dspark"}, {"dspark_noise_token_id": 7}),
        ({"method": "eagle3", "draft_options": {"parallel_drafting": True}}, {"ptd_token_id": 7}),
    ],
)
def test_a_parallel_drafter_names_the_token_for_the_places_to_come(
    tmp_path: Path, settings: dict[str, Any], mask: dict[str, Any]
) -> None:
    """Engines fill them with it; a drafter that was not trained so has none."""
    names = {"dflash": "DFlashDraftModel", "dspark": "Qwen3DSparkModel", "eagle3": "LlamaForCausalLMEagle3"}
    config = {"architectures": [names[settings["method"]]], "hidden_size": 64, "vocab_size": 8}
    (tmp_path / "without").mkdir()
    (tmp_path / "with").mkdir()
    (line,) = problems(tmp_path / "without", config, **settings)
    assert line.startswith("profiles.p.draft_model: its config.json names no token for the places to come")
    assert problems(tmp_path / "with", config | mask, **settings) == []

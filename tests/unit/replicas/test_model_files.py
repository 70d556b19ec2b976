"""Models by folder or name, and what is wrong with their files, in one line."""

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from policies.planning import KNOWN, Shape, shape_of
from policies.planning.parameters import parameters
from replicas import model_files
from replicas.model_files import ModelFilesError, check_weights, described, find_model, stored_weights
from replicas.model_store import SMOLLM2
from tests.unit.replicas.stored import write_safetensors

pytestmark = pytest.mark.unit

SHAPES = Path(__file__).parents[2] / "shapes"
INDEX = "model.safetensors.index.json"


def safetensors(file: Path, *shapes: tuple[int, ...], cut: int = 0) -> None:
    """A file with tensors of these shapes, without its last `cut` bytes."""
    write_safetensors(file, {f"t{number}": shape for number, shape in enumerate(shapes)}, cut=cut)


def test_a_model_is_a_folder_its_config_or_a_name() -> None:
    """Whichever way, the shape is the same."""
    folder = SHAPES / "qwen3-32b"
    shapes = {
        shape_of(find_model(name).config)
        for name in (str(folder), str(folder / "config.json"), "qwen3-32b", "Qwen/Qwen3-32B")
    }
    assert len(shapes) == 1
    assert find_model(str(folder)).folder == folder
    assert find_model("qwen3-32b").folder is None


def test_folders_elsewhere_are_found_among_shapes() -> None:
    """A deployment names paths of its own machines; the last part is what a shape is called."""
    found = find_model("/models/of/the/cluster/qwen3-32b", SHAPES)
    assert found.folder == SHAPES / "qwen3-32b"


def test_weights_are_counted_from_headers(tmp_path: Path) -> None:
    """Over all files; a folder without any has none."""
    assert stored_weights(tmp_path) is None
    safetensors(tmp_path / "a.safetensors", (2, 3), (5,))
    safetensors(tmp_path / "b.safetensors", (7,))
    found = stored_weights(tmp_path)
    assert found is not None
    assert (found.parameters, found.size_bytes, found.names) == (18, 72, frozenset({"t0", "t1"}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "config.json: No such file"),
        ("{", "config.json: not JSON (Expecting property name"),
        ("[1]", "config.json: expected a JSON object"),
        ("\udcff", "config.json: not text"),
        ("[" * 100_000, "config.json: not JSON"),
    ],
)
def test_configurations_that_cannot_be_read(tmp_path: Path, content: str | None, words: str) -> None:
    """The file is named, in one line."""
    if content is not None:
        (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelFilesError) as caught:
        find_model(str(tmp_path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_told_the_closest() -> None:
    """And the names that are known."""
    with pytest.raises(ModelFilesError, match="did you mean 'qwen3-32b'"):
        find_model("qwen3-33b")
    with pytest.raises(ModelFilesError, match="a file; name the model's folder"):
        find_model(__file__)
    with pytest.raises(ModelFilesError, match="File name too long"):
        find_model("x" * 5000)


def test_damaged_and_partial_weights(tmp_path: Path) -> None:
    """Each says which file, and what to do."""
    file = tmp_path / "model.safetensors"
    safetensors(file, (100,), cut=40)
    with pytest.raises(ModelFilesError, match=r"model.safetensors: \d+ of \d+ bytes: download it again"):
        stored_weights(tmp_path)
    for damaged in (b"", b"short", struct.pack("<Q", 2**60), struct.pack("<Q", 2) + b"[]", b"\xff" * 64):
        file.write_bytes(damaged)
        with pytest.raises(ModelFilesError, match=r"model\.safetensors: damaged"):
            stored_weights(tmp_path)
    safetensors(file, (100,), cut=-1)  # the library refuses what is too long, too
    with pytest.raises(ModelFilesError, match=r"\d+ of \d+ bytes"):
        stored_weights(tmp_path)
    file.unlink()
    safetensors(tmp_path / "1.safetensors", (4,))
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    with pytest.raises(ModelFilesError, match=r"2.safetensors: missing, 1 of 2 files"):
        stored_weights(tmp_path)


def test_a_folder_with_weights_is_in_order(tmp_path: Path) -> None:
    """In either format that vLLM looks for."""
    safetensors(tmp_path / "model.safetensors", (4,))
    check_weights(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as file:
        file.writestr("data", bytes(200))
    check_weights(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02 an old pickle")
    check_weights(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 the beginning of a long file"])
def test_pickled_weights_that_are_not_whole(tmp_path: Path, content: bytes) -> None:
    """The end of the file, which lists what is in it, is not there."""
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ModelFilesError, match=r"pytorch_model.bin: damaged or not whole: download it again"):
        check_weights(tmp_path)


@pytest.mark.parametrize("there", ["nothing", "training state", "no tensors"])
def test_a_folder_without_weights(tmp_path: Path, there: str) -> None:
    """Says what was looked for."""
    if there == "training state":
        (tmp_path / "training_args.bin").write_bytes(b"x")
    if there == "no tensors":
        safetensors(tmp_path / "model.safetensors")
    with pytest.raises(ModelFilesError, match=r"no weights there \(no \*.safetensors, \*.bin or \*.pt\)"):
        check_weights(tmp_path)


def test_the_embedded_model_is_known_before_it_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where its folder is damaged: it is prepared anew before anybody reads it."""
    monkeypatch.setattr(model_files, "default_cache_dir", lambda: tmp_path)
    folder = tmp_path / SMOLLM2.folder
    for text in (None, "{"):
        if text is not None:
            folder.mkdir(parents=True)
            (folder / "config.json").write_text(text)
        found = described("embedded")
        assert found is not None
        assert found.folder is find_model("embedded").folder is None
        assert (found.config["hidden_size"], found.config["vocab_size"]) == (576, 49152)
    (folder / "config.json").write_text('{"hidden_size": 5}')
    found = described("embedded")
    assert found is not None
    assert (found.config, found.folder) == ({"hidden_size": 5}, folder)
    assert described("/nowhere") is None


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "gemma2": {"tie_word_embeddings": True},
    "phi3": {"pad_token_id": 0},
    "smollm3": {"tie_word_embeddings": True, "pad_token_id": 0},
    "qwen2_moe": {
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
        "shared_expert_intermediate_size": 96,
        "decoder_sparse_step": 2,
    },
    "deepseek_v2": {
        "q_lora_rank": None,
        "kv_lora_rank": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
        "moe_intermediate_size": 48,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
    },
}
"""Small models of architectures of which none is known by name."""


def small(kind: str, changes: dict[str, Any]) -> dict[str, Any]:
    config = {"model_type": kind, "vocab_size": 320, "hidden_size": 64, "intermediate_size": 160}
    config |= {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    return config | changes


CONFIGS = {name: config for name, config in KNOWN.items() if "eagle" not in name} | {
    kind: small(kind, changes) for kind, changes in FAMILIES.items()
}


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_transformers(name: str) -> None:
    """Counted on its own model without memory; biases that choose experts are buffers there."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = {key: value for key, value in CONFIGS[name].items() if key != "quantization_config"}
    settings = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(settings)
    biases = sum(buffer.numel() for key, buffer in model.named_buffers() if key.endswith("_bias"))
    shape: Shape = shape_of(CONFIGS[name])
    assert parameters(shape).total == model.num_parameters() + biases

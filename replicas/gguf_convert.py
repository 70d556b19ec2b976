"""Turns a GGUF file of a Llama-shaped model into a Hugging Face folder; `gguf_process` runs it.

A process of its own because torch and transformers would otherwise stay in the memory of whoever prepares the
model (the command that then starts the engines), and because the hub must be off before they are imported.

    python -m replicas.gguf_convert SOURCE.gguf FOLDER

On stdout one line per report, the stage, a tab and the fraction of it that is done; errors go to stderr, the
last line says which.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replicas.orphans import end_with_parent

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Progress = Callable[[str, float], None]
"""Receives a stage's name and the fraction of that stage that is done: 0 when it begins, 1 when it ends."""

REVISION = 1
"""Raised when the same source must give another folder; folders of an older revision are rebuilt."""

# The pre-tokenizer llama.cpp calls "smollm" splits numbers into single digits before anything else.
# transformers drops that when it reads a GGUF: "\n\n1" would be three tokens where the model knows two.
_SPLITS_DIGITS = frozenset({"smollm"})


def convert(source: Path, folder: Path, progress: Progress) -> None:
    """Writes config, float32 weights, tokenizer, chat template and generation config into an existing folder.

    Raises:
        OSError: The source cannot be read or the folder cannot be written.
        ImportError: transformers, torch, accelerate or gguf is not installed.
        ValueError: The file is not a GGUF of a Llama-shaped model with a chat template.
    """
    progress("load converter", 0.0)
    tokenizer = _tokenizer(source)
    progress("load converter", 1.0)
    progress("dequantize", 0.0)
    model = _model(source)
    progress("dequantize", 1.0)
    progress("save", 0.0)
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(folder)
    progress("save", 0.9)
    tokenizer.save_pretrained(folder)
    progress("save", 1.0)


def _tokenizer(source: Path) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer  # noqa: PLC0415  (seconds to import)

    tokenizer: Any = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    if tokenizer.chat_template is None:
        raise ValueError(f"{source.name} has no chat template")
    if _pre_tokenizer_name(source) in _SPLITS_DIGITS:
        from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence  # noqa: PLC0415

        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
        )
    return tokenizer


def _pre_tokenizer_name(source: Path) -> str | None:
    from gguf import GGUFReader  # noqa: PLC0415

    field = GGUFReader(source).fields.get("tokenizer.ggml.pre")
    return None if field is None else str(field.contents())


def _model(source: Path) -> LlamaForCausalLM:
    """The weights in a model that was never quantized: the one that was read refuses to be saved."""
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaForCausalLM  # noqa: PLC0415

    read = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    model = LlamaForCausalLM(_plain_config(read.config)).to(torch.float32)
    model.load_state_dict(read.state_dict())
    # Engines take their stop token from here and from the tokenizer: <|im_end|>, the end of a chat turn.
    config = model.config
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    return model


def _plain_config(read: LlamaConfig) -> LlamaConfig:
    from transformers import LlamaConfig  # noqa: PLC0415

    values = read.to_dict()
    for leftover in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        values.pop(leftover, None)
    # GGUF keeps it in single precision, where 1e-5 reads 9.999999747378752e-06.
    values["rms_norm_eps"] = float(f"{values['rms_norm_eps']:.6g}")
    return LlamaConfig(**values)


def _report(stage: str, fraction: float) -> None:
    sys.stdout.write(f"{stage}\t{fraction}\n")
    sys.stdout.flush()


def main() -> int:
    """Converts; returns 0, or 1 with the reason as the last line of stderr."""
    end_with_parent()
    source, folder = (Path(argument) for argument in sys.argv[1:])
    try:
        convert(source, folder, _report)
    except Exception as error:  # noqa: BLE001  (the libraries raise many kinds, safetensors one of its own)
        sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

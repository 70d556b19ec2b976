"""Bytes per weight: of a data type, and of matrices that are quantised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from policies.planning.parameters import Parameters
from policies.problems import choices_hint

DTYPES: Final[Mapping[str, int]] = {"float32": 4, "bfloat16": 2, "float16": 2}

# Bits per quantised weight with what stands beside them: a 16-bit scale and a 4-bit zero point per group of
# 128 (GPTQ, AWQ); an 8-bit scale per 16 weights (NVFP4) or 32 (MXFP4, the OCP specification of 2023); one
# of 32 bits per 64, itself quantised, is 0.127 bits (QLoRA, 2023, arXiv 2305.14314). FP8 and INT8 keep a
# scale per channel or per block of 128 x 128, which is next to nothing.
_BITS: Final[Mapping[str, float]] = {
    "fp8": 8.0,
    "int8": 8.0,
    "int4": 4.0 + (16 + 4) / 128,
    "nf4": 4.127,
    "nvfp4": 4.5,
    "mxfp4": 4.25,
    "mxfp8": 8.25,
    "experts_int8": 8.0,
}
# What vLLM calls those that it quantises while it loads (`--quantization`, vLLM 0.32), by what they come to.
_WHILE_LOADING: Final[Mapping[str, str]] = {
    "fp8": "fp8",
    "fp8_per_tensor": "fp8",
    "fp8_per_block": "fp8",
    "fp8_per_channel": "fp8",
    "mxfp8": "mxfp8",
    "experts_int8": "experts_int8",
    "int8_per_channel_weight_only": "int8",
    "nvfp4_per_token": "nvfp4",
}
_SCALE_BITS: Final = 16
_FLOAT_SCALE_BITS: Final = 8
_HALF_BYTE: Final = 4
_BYTE: Final = 8


class PrecisionError(ValueError):
    """A data type or a quantisation that is not known; one line that names those that are."""


class Precision(NamedTuple):
    """How weights are kept: `bits` for the matrices of the layers, `dtype_bytes` for all the rest.

    `experts_only` leaves attention and dense layers as they are.
    """

    dtype: str
    dtype_bytes: int
    quantization: str | None = None
    bits: float = 0.0
    experts_only: bool = False

    def of(self, counts: Parameters) -> float:
        """Bytes of so many parameters."""
        if self.quantization is None:
            return float(counts.total * self.dtype_bytes)
        small = counts.experts if self.experts_only else counts.experts + counts.attention + counts.mlp
        return small * self.bits / 8 + (counts.total - small) * self.dtype_bytes

    @property
    def words(self) -> str:
        """As people say it."""
        if self.quantization is None:
            return self.dtype
        return f"{self.quantization} ({self.bits:g} bits), the rest {self.dtype}"


def precision_of(
    config: Mapping[str, Any], *, dtype: str = "auto", quantization: str | None = None, on_cpu: bool = False
) -> Precision:
    """The precision that an engine would hold a model in.

    `dtype` and `quantization` stand before what the configuration says; `auto` is its own data type, as vLLM
    takes it: float32 weights are served in half precision on GPUs, and everything in float32 on CPUs.

    Raises:
        PrecisionError: Unknown names.
    """
    if dtype == "auto":
        own = config.get("dtype") or config.get("torch_dtype")
        dtype = "float32" if on_cpu else ("float16" if own == "float16" else "bfloat16")
    if dtype not in DTYPES:
        raise PrecisionError(f"dtype: {dtype!r} is unknown; {choices_hint(dtype, [*DTYPES, 'auto'])}")
    if quantization is not None:
        if quantization not in _BITS:
            raise PrecisionError(
                f"quantization: {quantization!r} is unknown; {choices_hint(quantization, list(_BITS))}"
            )
        only = quantization == "experts_int8"
        return Precision(dtype, DTYPES[dtype], quantization, _BITS[quantization], experts_only=only)
    given = config.get("quantization_config")
    if not isinstance(given, Mapping):
        return Precision(dtype, DTYPES[dtype])
    name, bits = _configured(given)
    return Precision(dtype, DTYPES[dtype], name, bits, experts_only=name == "mxfp4")


def loaded_as(name: object) -> str | None:
    """What weights are that vLLM is told to quantise while it loads them; None where it only loads them.

    `name` is its `quantization`. Other names than those of `_WHILE_LOADING` say what is stored; the model's
    own files tell that, too.
    """
    return _WHILE_LOADING.get(name) if isinstance(name, str) else None


def _configured(given: Mapping[str, Any]) -> tuple[str, float]:
    """Name and bits of the `quantization_config` in a config.json."""
    method = str(given.get("quant_method", "")).lower()
    if method == "bitsandbytes":
        return ("nf4", _BITS["nf4"]) if given.get("load_in_4bit") else ("int8", _BITS["int8"])
    if method == "modelopt":
        fp4 = "FP4" in str(given.get("quant_algo", "")).upper()
        return ("nvfp4", _BITS["nvfp4"]) if fp4 else ("fp8", _BITS["fp8"])
    if method in {"fp8", "fbgemm_fp8"}:
        return "fp8", _BITS["fp8"]
    if method == "mxfp4":
        return "mxfp4", _BITS["mxfp4"]
    weights: Mapping[str, Any] = given
    if method == "compressed-tensors":
        groups = given.get("config_groups")
        first: Any = next(iter(groups.values()), {}) if isinstance(groups, Mapping) else {}
        weights = (first.get("weights") if isinstance(first, Mapping) else None) or {}
    elif method not in {"gptq", "awq"}:
        raise PrecisionError(f"quantization_config.quant_method: {method!r} is unknown: say --quantization")
    is_float = weights.get("type") == "float"
    bits = weights.get("bits", weights.get("num_bits", _HALF_BYTE))
    group = weights.get("group_size") or 0
    if not isinstance(bits, int) or not 1 <= bits <= _BYTE or not isinstance(group, int):
        raise PrecisionError("quantization_config: bits and group_size are to be whole numbers, bits 1 to 8")
    # Floats have a scale of one byte and no zero point: NVFP4 per 16 weights, MXFP4 and MXFP8 per 32.
    each = _FLOAT_SCALE_BITS if is_float else _SCALE_BITS + bits
    beside = each / group if group > 0 else 0.0
    return method, bits + beside

"""Engines to plan, from models and settings; and the GPU they need, where none is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil

from policies.planning import (
    GPUS,
    Draft,
    Engine,
    EngineMemory,
    Gpu,
    GpuError,
    Load,
    Precision,
    PrecisionError,
    Shape,
    ShapeError,
    draft_of,
    engine_memory,
    gpu_named,
    precision_of,
    shape_of,
)
from policies.planning.configs import KNOWN_TYPES, text_config
from policies.planning.drafts import head_config, method_of
from policies.planning.gpus import CPU
from policies.planning.memory import GIB
from replicas.drafter_check import method_problem
from replicas.model_files import Model, ModelFilesError, find_model

PlanError = (ModelFilesError, ShapeError, PrecisionError, GpuError)
"""What cannot be planned; each is one line."""

ANY_GPU: Final = next(iter(GPUS.values()))
"""Holds the place of one that is not chosen yet."""

_TOLERANCE: Final = 0.01
T = TypeVar("T")


def hardware(name: str) -> Gpu:
    """The GPU of this name, or this machine.

    Raises:
        GpuError: It is not known.
    """
    if name == CPU:
        return Gpu(CPU, psutil.virtual_memory().total / GIB, None, None)
    return gpu_named(name)


def placed(engine: Engine, gpu_name: str | None, load: Load) -> tuple[Engine, EngineMemory]:
    """The engine on the named GPU; without a name on the one with the least memory that does.

    Where none does, on the one with the most. Raises GpuError for an unknown name.
    """
    if gpu_name is not None:
        engine = replace(engine, gpu=hardware(gpu_name))
        return engine, engine_memory(engine, load)
    for gpu in sorted(GPUS.values(), key=lambda gpu: gpu.memory_gib):
        engine = replace(engine, gpu=gpu)
        memory = engine_memory(engine, load)
        if memory.fits:
            break
    return engine, memory


class Planned:
    """A model with its shape and the precision an engine would hold it in.

    Raises ShapeError or PrecisionError, with the model's name before what is wrong.
    """

    def __init__(
        self, model: Model, *, dtype: str = "auto", quantization: str | None = None, on_cpu: bool = False
    ) -> None:
        self.model = model
        self.config = head_config(text_config(model.config))
        try:
            self.precision: Precision = precision_of(
                {**self.config, **_quantised(model.config)},
                dtype=dtype,
                quantization=quantization,
                on_cpu=on_cpu,
            )
        except PrecisionError as error:
            raise PrecisionError(f"{model.name}: {error}") from None

    def shape(self) -> Shape:
        """Its shape, as a decoder."""
        return _named(self.model, lambda: shape_of(self.config))

    @property
    def method(self) -> str:
        """How it drafts, by its files."""
        return method_of(self.config, self._tensors)

    def check_method(self, method: str, role: str) -> None:
        """Raises ShapeError, after the option or field `role`, where it is no drafter of `method`."""
        if (wrong := method_problem(method, self.config, self._tensors)) is not None:
            raise ShapeError(f"{role}: {wrong}")

    @property
    def _tensors(self) -> frozenset[str]:
        return self.model.stored.names if self.model.stored is not None else frozenset()

    def draft(self, method: str, target: Shape) -> Draft:
        """What it is as a drafter of `target`."""
        return _named(self.model, lambda: draft_of(method, target, self.config))

    def warnings(self, counted: int) -> list[str]:
        """What makes its size uncertain; `counted` are the parameters by its shape."""
        found = []
        kind = self.config.get("model_type")
        if kind not in KNOWN_TYPES:
            found.append(f"{self.model.name}: model_type {kind!r} is not known: counted like Llama")
        stored = self.model.stored
        if stored is not None and self.precision.quantization is None:
            beyond = stored.parameters / counted - 1
            if abs(beyond) > _TOLERANCE:
                found.append(
                    f"{self.model.name}: its files hold {stored.parameters / 1e9:.3f} B parameters, "
                    f"its config.json makes {counted / 1e9:.3f} B"
                )
        return found


def found(name: str, role: str, shapes: Path | None = None) -> Model:
    """The model of a name, for the option or field `role`.

    Raises:
        ModelFilesError: With the role before what is wrong.
    """
    try:
        return find_model(name, shapes)
    except ModelFilesError as error:
        raise ModelFilesError(f"{role}: {error}") from None


def _quantised(config: Mapping[str, Any]) -> dict[str, Any]:
    """Where a model reads more than text, what is quantised is said outside of `text_config`."""
    return {key: config[key] for key in ("quantization_config",) if key in config}


def _named(model: Model, read: Callable[[], T]) -> T:
    try:
        return read()
    except ShapeError as error:
        raise ShapeError(f"{model.name}: {error}") from None

"""Planning without running anything: what models weigh, what fits on a GPU, what drafting may gain there.

Pure mathematics on the shapes of models. `replicas.model_files` reads files, `router.planning` prints.
"""

from policies.planning.configs import ShapeError, shape_of
from policies.planning.drafts import Draft, draft_of
from policies.planning.gains import Gain, gains
from policies.planning.gpus import GPUS, Gpu, GpuError, gpu_named
from policies.planning.known import KNOWN, known_config
from policies.planning.memory import Engine, EngineMemory, Load, engine_memory
from policies.planning.placements import Placement, placements
from policies.planning.precision import Precision, PrecisionError, loaded_as, precision_of
from policies.planning.shapes import Shape
from policies.planning.sizes import SizeVerdict, size_verdict

__all__ = [
    "GPUS",
    "KNOWN",
    "Draft",
    "Engine",
    "EngineMemory",
    "Gain",
    "Gpu",
    "GpuError",
    "Load",
    "Placement",
    "Precision",
    "PrecisionError",
    "Shape",
    "ShapeError",
    "SizeVerdict",
    "draft_of",
    "engine_memory",
    "gains",
    "gpu_named",
    "known_config",
    "loaded_as",
    "placements",
    "precision_of",
    "shape_of",
    "size_verdict",
]

"""The artefact: weights as 16-bit floats beside a JSON object that says where they come from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np
import sklearn

from policies.tasks import TASKS
from router.tasks.trained import FORMAT
from router.tasks.vector import FEATURES
from training.data import is_own
from training.fitting import Weights
from training.rows import Row, digest
from training.settings import Settings

VERSION: Final = "2"
"""Version of the weights; one more whenever they are trained on something else or in another way."""

LICENCE: Final = (
    "Weights: Apache-2.0, as the project. Trained on rows of the sources listed, each under its own licence "
    "(docs/task-classifier.md names them); no text of theirs is contained."
)


def artefact(
    weights: Weights,
    rows: Sequence[Row],
    settings: Settings,
    *,
    temperature: float,
    bar: float,
    figures: Mapping[str, float],
) -> bytes:
    """The bytes of `router/tasks/model/tasks.npz`: the same for the same weights."""
    about = {
        "format": FORMAT,
        "features": FEATURES,
        "version": VERSION,
        "labels": list(TASKS),
        "scales": dict(settings.scales),
        "temperature": round(temperature, 6),
        "bar": bar,
        "inverse_penalty": settings.inverse_penalty,
        "sources_left_out": {name: round(value, 4) for name, value in figures.items()},
        "training_rows": {
            "public": sum(not is_own(row) for row in rows),
            "own_and_mixed": sum(is_own(row) for row in rows),
            "sha256": digest(rows),
        },
        "sources": dict(sorted(Counter(row.source for row in rows if not is_own(row)).items())),
        "library": f"scikit-learn {sklearn.__version__}",
        "licence": LICENCE,
    }
    text = json.dumps(about, sort_keys=True).encode()
    stored: dict[str, Any] = {
        "hashed": weights.hashed.astype(np.float16),
        "dense": weights.dense.astype(np.float16),
        "bias": weights.bias.astype(np.float32),
        "metadata": np.frombuffer(text, dtype=np.uint8),
    }
    buffer = BytesIO()
    np.savez_compressed(buffer, **stored)
    return buffer.getvalue()

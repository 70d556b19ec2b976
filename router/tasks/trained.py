"""The trained classifier: one matrix of weights over hashed n-grams, rules and structure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from io import BytesIO
from itertools import accumulate
from math import sqrt
from typing import Any, Final, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from router.tasks.protocol import Classification, RequestText
from router.tasks.vector import DENSE, FEATURES, NAMESPACES, Vector, vector

ARTEFACT: Final = "model/tasks.npz"
"""Where the weights are, beside this module. Written by `python -m training train`, never by hand."""

FORMAT: Final = 2
"""Version of the artefact's form. What its features mean has a version of its own, `vector.FEATURES`."""

OTHER: Final = "other"


class ArtefactError(ValueError):
    """Weights that do not belong to this version of the program."""


class TrainedClassifier:
    """Multinomial logistic regression on `router.tasks.vector`, with a calibrated confidence.

    z = b + dense . W_d + sum over namespaces n of s_n / sqrt(|n|) * (sum of the weight rows of n's hashes)
    confidence = max of softmax(z / T), T fitted on sources that the weights had not seen

    It estimates the chance that the task is right. Below the bar the answer is `other`, with the chance that
    the likeliest task is wrong as its confidence. A request without any text is `other` unless its fields say
    what it is.
    """

    def __init__(
        self,
        *,
        hashed: NDArray[np.float32],
        dense: NDArray[np.float32],
        bias: NDArray[np.float32],
        labels: tuple[str, ...],
        scales: tuple[float, ...],
        temperature: float,
        bar: float,
    ) -> None:
        self._hashed, self._dense, self._bias = hashed, dense, bias
        self._labels = labels
        self._scales = scales
        self._temperature = temperature
        self._bar = bar
        self._mask = np.uint32(len(hashed) - 1)

    def classify(self, request: RequestText) -> Classification:
        """The most likely task, or `other` below the bar."""
        if _says_nothing(request):
            return Classification(OTHER, 1.0)
        chances = self.chances(vector(request))
        winner = int(chances.argmax())
        chance = float(chances[winner])
        if chance < self._bar and self._labels[winner] != OTHER:
            return Classification(OTHER, 1.0 - chance)
        return Classification(self._labels[winner], chance)

    def chances(self, features: Vector) -> NDArray[np.float32]:
        """The chance of every label, in the order of the artefact's labels; they add up to 1."""
        return softmax(self.scores(features) / self._temperature)

    def scores(self, features: Vector) -> NDArray[np.float32]:
        """The z of every label, before calibration."""
        scores: NDArray[np.float32] = self._bias + features.dense @ self._dense
        spoken = [item for item in zip(self._scales, features.hashed, strict=True) if len(item[1])]
        if not spoken:
            return scores
        # One pass over the weights for all namespaces: what is looked up is little beside what a call costs.
        counts = [len(hashes) for _, hashes in spoken]
        rows = self._hashed[np.concatenate([hashes for _, hashes in spoken]) & self._mask]
        sums = np.add.reduceat(rows, [0, *accumulate(counts[:-1])], axis=0)
        units = [scale / sqrt(count) for (scale, _), count in zip(spoken, counts, strict=True)]
        scores += np.array(units, dtype=np.float32) @ sums
        return scores

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The classifier of an artefact's bytes.

        Raises:
            ArtefactError: The artefact is of another format, or of other features.
        """
        try:
            with np.load(BytesIO(data), allow_pickle=False) as arrays:
                parts = {name: arrays[name] for name in arrays.files}
            about = read_metadata(parts)
            made_for = (about["format"], about.get("features"), parts["dense"].shape[0])
            if made_for != (FORMAT, FEATURES, DENSE):
                raise ArtefactError(  # noqa: TRY301 -- handled with the other ways to be unusable
                    "format {}, features {}, {} structural numbers; ".format(*made_for)
                    + f"this version reads format {FORMAT}, features {FEATURES}, {DENSE} structural numbers"
                )
            return cls(
                hashed=parts["hashed"].astype(np.float32),
                dense=parts["dense"].astype(np.float32),
                bias=parts["bias"].astype(np.float32),
                labels=tuple(about["labels"]),
                scales=tuple(float(about["scales"][name]) for name in NAMESPACES),
                temperature=float(about["temperature"]),
                bar=float(about["bar"]),
            )
        except ArtefactError:
            raise
        except (BadZipFile, OSError, KeyError, ValueError, TypeError, EOFError) as error:
            raise ArtefactError(f"not a task classifier: {error!r}") from error


@cache
def trained_classifier() -> TrainedClassifier:
    """The classifier this package ships, loaded once in a process.

    Raises:
        ArtefactError: The package's weights are missing or of another version: the installation is broken.
    """
    return TrainedClassifier.from_bytes(artefact())


def artefact() -> bytes:
    """The bytes of the weights this package ships."""
    try:
        return files("router.tasks").joinpath(*ARTEFACT.split("/")).read_bytes()
    except OSError as error:
        raise ArtefactError(f"the task classifier's weights cannot be read: {error}") from error


def metadata(data: bytes) -> Mapping[str, Any]:
    """What an artefact says of itself: version, labels, digest of its training data, figures, licences."""
    with np.load(BytesIO(data), allow_pickle=False) as arrays:
        return read_metadata({"metadata": arrays["metadata"]})


def read_metadata(parts: Mapping[str, NDArray[Any]]) -> Mapping[str, Any]:
    """The JSON object in an artefact's `metadata` array."""
    found: Mapping[str, Any] = json.loads(parts["metadata"].tobytes())
    return found


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """exp(z) over its sum, along the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    total = powers.sum(axis=-1, keepdims=True)
    chances: NDArray[np.float32] = powers / total
    return chances


def _says_nothing(request: RequestText) -> bool:
    return not (
        request.has_tools
        or request.has_response_schema
        or request.last_turn.strip()
        or request.system_prompt.strip()
        or request.earlier_turns.strip()
    )

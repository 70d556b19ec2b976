"""The calibration file: step times of known profiles, to start from.

    {"format": "specroute/calibration/v1", "model": "…", "machine": "…",
     "profiles": {"ngram": {"step_time_ms": {"base": 21.5, "wide": 14.2, …}, "relative_error": 0.06,
                            "steps": 3000}}}

What `GET /admin/v1/cost` answers is such a file. Coefficients that are left out are 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.cost.steps import StepTime
from policies.problems import choices_hint, format_path

FORMAT: Final = "specroute/calibration/v1"

_MAX_MS: Final = 600_000.0


class CalibrationError(ValueError):
    """A calibration file that cannot be used; its text is one line."""


class Calibrated(NamedTuple):
    """What a calibration says of one profile."""

    step_time: StepTime
    relative_error: float
    steps: float


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _StepTimeMs(_Part):
    base: float = Field(gt=0, le=_MAX_MS)
    per_request: float = Field(0.0, ge=0, le=_MAX_MS)
    wide: float = Field(0.0, ge=0, le=_MAX_MS)
    verify: float = Field(0.0, ge=0, le=_MAX_MS)
    per_drafted: float = Field(0.0, ge=0, le=_MAX_MS)
    per_asked: float = Field(0.0, ge=0, le=_MAX_MS)
    per_context: float = Field(0.0, ge=0, le=_MAX_MS)
    per_prefill: float = Field(0.0, ge=0, le=_MAX_MS)
    beyond_16: float = Field(0.0, ge=0, le=_MAX_MS)
    beyond_64: float = Field(0.0, ge=0, le=_MAX_MS)
    beyond_256: float = Field(0.0, ge=0, le=_MAX_MS)


class _Profile(_Part):
    step_time_ms: _StepTimeMs
    relative_error: float = Field(ge=0, le=10)
    steps: float = Field(ge=0)
    source: Literal["seed", "calibration", "measured"] = "measured"
    refused_records: int = Field(0, ge=0)
    predicted_over_measured: float | None = None
    prediction_spread: float | None = None


class _File(_Part):
    format: Literal["specroute/calibration/v1"]
    model: str = ""
    machine: str = ""
    profiles: Mapping[str, _Profile]


def parse_calibration(text: str | bytes, source: str) -> Mapping[str, Calibrated]:
    """What a calibration file says, by profile.

    Raises:
        CalibrationError: It cannot be used; the message names `source` and the place.
    """
    try:
        found = _File.model_validate_json(text)
    except ValidationError as error:
        raise CalibrationError(f"{source}: {_told(error)}") from None
    return {
        name: Calibrated(
            StepTime(*(ms / 1000 for ms in profile.step_time_ms.model_dump().values())),
            profile.relative_error,
            profile.steps,
        )
        for name, profile in found.profiles.items()
    }


def calibration(profiles: Mapping[str, Mapping[str, Any]], *, model: str, machine: str) -> dict[str, Any]:
    """The file's content; each profile as `calibrated_profile` made it."""
    return {"format": FORMAT, "model": model, "machine": machine, "profiles": dict(profiles)}


def calibrated_profile(step_time: StepTime, relative_error: float, steps: float) -> dict[str, Any]:
    """One profile's entry. Milliseconds, rounded to a nanosecond."""
    return {
        "step_time_ms": {name: round(seconds * 1000, 6) for name, seconds in step_time._asdict().items()},
        "relative_error": round(relative_error, 4),
        "steps": round(steps, 1),
    }


def _told(error: ValidationError) -> str:
    problem = error.errors()[0]
    path = format_path(problem["loc"])
    if problem["type"] == "json_invalid":
        return f"not JSON: {problem['ctx']['error']}"
    if path == "format":
        return f"format: must be {FORMAT!r}; write the file with `GET /admin/v1/cost`"
    if problem["type"] == "extra_forbidden":
        parts: dict[int, type[_Part]] = {1: _File, 3: _Profile, 4: _StepTimeMs}
        model = parts.get(len(problem["loc"]), _File)
        return f"{path}: unknown key; {choices_hint(problem['loc'][-1], list(model.model_fields))}"
    return f"{path}: {problem['msg']}" if path else str(problem["msg"])

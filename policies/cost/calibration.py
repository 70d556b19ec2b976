"""The calibration file: step times of known profiles, and acceptance by task, to start from.

    {"format": "specroute/calibration/v1", "model": "…", "machine": "…",
     "profiles": {"ngram": {"step_time_ms": {"base": 21.5, "wide": 14.2, …}, "relative_error": 0.06,
                            "steps": 3000,
                            "break_even": [{"k": 4, "batch": 1, "context": 512, "alpha": 0.21,
                                            "half_width": 0.02, "measured": true}, …]}},
     "acceptance": [{"profile": "ngram", "task": "code", "temperature": "low", "tenant": "anonymous",
                     "replayed": false, "counters": {"requests": 8, "steps": 310, …}}, …],
     "routes": {"code": "speculative", "creative": "vanilla", …}}

What `GET /admin/v1/cost` answers is such a file, `specroute calibrate` writes one with all of it.
Coefficients that are left out are 0. `break_even` follows from the step times, and is there for people: the
effective acceptance at which drafts pay, null where none does, with half of its interval of 90 % and whether
requests ran so; files of earlier versions lack these two. `acceptance` are additive counters as
`policies.evidence` and `policies.replay` make them, of a tenant's requests of a task at a temperature.
`routes` are those a router starts with, as if it had taken them before: hysteresis keeps them where what is
known is too close to call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from policies.cells import CellKey, TemperatureBucket
from policies.cost.steps import StepTime
from policies.evidence import is_sound
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
    base: float = Field(ge=0, le=_MAX_MS)
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

    @model_validator(mode="after")
    def _takes_time(self) -> Self:
        # Either may be nothing: passes may take all their time in proportion to what they decode.
        if self.base + self.per_request <= 0:
            raise ValueError(
                "a plain step of one request takes no time: base or per_request is to be above 0"
            )
        return self


class _BreakEven(_Part):
    k: int = Field(ge=1)
    batch: float = Field(ge=1)
    context: float = Field(ge=0)
    alpha: float | None = Field(ge=0, le=1)
    half_width: float | None = Field(None, ge=0, le=1)
    measured: bool | None = None


class _Cell(_Part):
    profile: str = Field(min_length=1)
    task: str = Field(min_length=1)
    temperature: TemperatureBucket
    tenant: str = Field(min_length=1)
    replayed: bool = False
    counters: Mapping[str, float]

    @property
    def key(self) -> CellKey:
        own = CellKey(self.profile, self.task, self.temperature, self.tenant)
        return own.of_replays() if self.replayed else own

    @field_validator("counters")
    @classmethod
    def _sound(cls, counters: Mapping[str, float]) -> Mapping[str, float]:
        if not is_sound(counters):
            raise ValueError("no requests can have added up to these counters")
        return counters


class _Profile(_Part):
    step_time_ms: _StepTimeMs
    relative_error: float = Field(ge=0, le=10)
    steps: float = Field(ge=0)
    source: Literal["seed", "calibration", "measured"] = "measured"
    believed_over_measured: float = Field(1.0, ge=0)
    refused_records: int = Field(0, ge=0)
    predicted_over_measured: float | None = None
    prediction_spread: float | None = None
    break_even: tuple[_BreakEven, ...] = ()


class _File(_Part):
    format: Literal["specroute/calibration/v1"]
    model: str = ""
    machine: str = ""
    profiles: Mapping[str, _Profile]
    acceptance: tuple[_Cell, ...] = ()
    routes: Mapping[str, Literal["speculative", "vanilla"]] = {}


def parse_calibration(text: str | bytes, source: str) -> Mapping[str, Calibrated]:
    """What a calibration file says, by profile.

    Raises:
        CalibrationError: It cannot be used; the message names `source` and the place.
    """
    return {
        name: Calibrated(
            StepTime(*(ms / 1000 for ms in profile.step_time_ms.model_dump().values())),
            profile.relative_error,
            profile.steps,
        )
        for name, profile in _read(text, source).profiles.items()
    }


def parse_acceptance(text: str | bytes, source: str) -> Mapping[CellKey, Mapping[str, float]]:
    """The counters of acceptance in a calibration file, by cell: each names a tenant.

    Raises:
        CalibrationError: It cannot be used; the message names `source` and the place.
    """
    return {cell.key: cell.counters for cell in _read(text, source).acceptance}


def parse_routes(text: str | bytes, source: str) -> Mapping[str, Literal["speculative", "vanilla"]]:
    """The routes to start with in a calibration file, by task; empty in files of earlier versions.

    Raises:
        CalibrationError: It cannot be used; the message names `source` and the place.
    """
    return _read(text, source).routes


def acceptance_entry(key: CellKey, counters: Mapping[str, float]) -> dict[str, Any]:
    """One cell's entry in the file's `acceptance`."""
    return {
        "profile": key.served_profile,
        "task": key.task,
        "temperature": key.temperature,
        "tenant": key.tenant,
        "replayed": key.is_of_replays,
        "counters": {name: round(count, 6) for name, count in counters.items()},
    }


def _read(text: str | bytes, source: str) -> _File:
    try:
        return _File.model_validate_json(text)
    except ValidationError as error:
        raise CalibrationError(f"{source}: {_told(error)}") from None


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
        return f"{path}: unknown key; {choices_hint(problem['loc'][-1], _keys_beside(problem['loc']))}"
    told = str(problem["msg"]).removeprefix("Value error, ")
    return f"{path}: {told}" if path else told


def _keys_beside(path: tuple[int | str, ...]) -> list[str]:
    """The keys there are where the path ends."""
    match path:
        case ("acceptance", _, _):
            part: type[_Part] = _Cell
        case ("profiles", _, _):
            part = _Profile
        case ("profiles", _, "break_even", *_):
            part = _BreakEven
        case ("profiles", _, _, _):
            part = _StepTimeMs
        case _:
            part = _File
    return list(part.model_fields)

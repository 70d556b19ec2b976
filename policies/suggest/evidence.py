"""What the admin API tells of acceptance, as far as thresholds need it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.problems import format_path


class EvidenceError(ValueError):
    """What was read is not an answer of the admin API; its text is one line."""


class Evidence(BaseModel):
    """One row of `GET /admin/v1/alpha`, over all temperatures."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    profile: str
    task: str
    tenant: str | None
    temperature: str | None
    alpha: float | None = Field(ge=0, le=1)
    interval: tuple[float, float] | None
    coverage: tuple[float, ...]
    steps: float = Field(ge=0)
    replayed_requests: float = Field(default=0.0, ge=0)
    least_asked: int = Field(default=1, ge=0)
    """Tokens the pool's drafting model works for in every pass at least; see `policies.decide.Pool`."""


def read_evidence(answer: object) -> list[Evidence]:
    """The rows of an answer of `GET /admin/v1/alpha` that are about all temperatures.

    Raises:
        EvidenceError: It is none.
    """
    entries = answer.get("entries") if isinstance(answer, Mapping) else None
    if not isinstance(entries, list):
        raise EvidenceError("no answer of GET /admin/v1/alpha: it has no list of entries")
    try:
        rows = [Evidence.model_validate(entry) for entry in entries]
    except ValidationError as error:
        problem = error.errors()[0]
        where = format_path(problem["loc"])
        raise EvidenceError(f"no answer of GET /admin/v1/alpha: {where}: {problem['msg']}") from None
    return [row for row in rows if row.temperature is None]

"""What a deployment may keep of its answers, for `specroute draft refresh`: nothing, unless it says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

import regex
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from router.requests import TENANT_NAME

ALL_TENANTS: Final = "*"


class CaptureSettings(BaseModel):
    """Sampled questions and answers, in files of a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    folder: str | None = Field(
        None,
        description="Where sampled questions and answers are kept, to refresh drafters from; None: nowhere.",
    )
    tenants: tuple[str, ...] = Field(
        (), description="Whose requests may be kept; `*` is everybody's, anonymous ones among them."
    )
    sample: float = Field(0.05, gt=0, le=1, description="Share of their requests that is kept.")
    max_rows: int = Field(20_000, ge=64, description="Answers in the folder; the oldest are deleted.")
    max_bytes: int = Field(
        256 * 2**20, ge=2**20, description="Size of the folder's files; the oldest are deleted."
    )
    max_row_bytes: int = Field(
        64 * 2**10, ge=2**10, description="Larger questions with answers are not kept."
    )
    redact: tuple[str, ...] = Field(
        (),
        description="Regular expressions; what they match in questions and answers is replaced before it is "
        "written.",
    )

    @field_validator("tenants")
    @classmethod
    def _names(cls, names: Sequence[str]) -> Any:
        for name in names:
            if name != ALL_TENANTS and not TENANT_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no tenant's name: letters, digits, . _ - or `*` for all")
        return names

    @field_validator("redact")
    @classmethod
    def _patterns(cls, patterns: Sequence[str]) -> Any:
        for pattern in patterns:
            try:
                matches_nothing = regex.compile(pattern).fullmatch("") is not None
            except regex.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
            if matches_nothing:
                raise ValueError(f"{pattern!r} matches empty text: let it match at least one character")
        return patterns

    @model_validator(mode="after")
    def _somebodys(self) -> Self:
        if self.folder is not None and not self.tenants:
            raise ValueError("tenants: name those whose requests may be kept, or `*` for all")
        if self.max_row_bytes > self.max_bytes // 16:
            raise ValueError("max_row_bytes: set it to a sixteenth of max_bytes or less")
        return self

"""What all policy models share: strictness, and the small value types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
    model_validator,
)

from policies.problems import Violation, refusal, show, violated

MAX_K: Final = 32
"""More draft tokens per step than any drafter is trained for; a larger k is a typing error."""

MAX_KEYWORD_CHARACTERS: Final = 64
MAX_KEYWORDS: Final = 256
"""Of all custom tasks together."""

_NAME_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
_FILE_NAME_PATTERN = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"
_TASK_NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,63}$"


class PolicyModel(BaseModel):
    """A frozen part of a policy that refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_by_name=False,
    )

    def violations(self) -> Sequence[Violation]:
        """The rules between this model's own values that are broken."""
        return ()

    @model_validator(mode="after")
    def _refuse_violations(self) -> Self:
        if found := self.violations():
            raise violated(found)
        return self


def _check_name(value: str) -> str:
    if not re.fullmatch(_NAME_PATTERN, value):
        raise refusal(f"{show(value)} is not a name", "use 1 to 64 characters of A-Z a-z 0-9 . _ -")
    return value


def _check_task_name(value: str) -> str:
    if not re.fullmatch(_TASK_NAME_PATTERN, value):
        raise refusal(
            f"{show(value)} is not a task name",
            "use 1 to 64 characters of a-z 0-9 _ -, a letter first",
        )
    return value


Name = Annotated[
    str,
    Strict(),
    AfterValidator(_check_name),
    WithJsonSchema({"type": "string", "pattern": _NAME_PATTERN}),
]
"""A name that is safe in headers, metrics labels and store keys."""

TaskName = Annotated[
    str,
    Strict(),
    AfterValidator(_check_task_name),
    WithJsonSchema({"type": "string", "pattern": _TASK_NAME_PATTERN}),
]


def _check_keyword(value: str) -> str:
    if not any(character.isalnum() for character in value) or len(value) > MAX_KEYWORD_CHARACTERS:
        raise refusal(
            f"{show(value)} is not a keyword",
            f"use a word or a phrase of up to {MAX_KEYWORD_CHARACTERS} characters",
        )
    return value


Keyword = Annotated[
    str,
    Strict(),
    AfterValidator(_check_keyword),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_KEYWORD_CHARACTERS}),
]
"""A word or a phrase to look for in a request."""


def _check_file_name(value: str) -> str:
    if not re.fullmatch(_FILE_NAME_PATTERN, value):
        raise refusal(
            f"{show(value)} is not the name of a file beside the policy file", "write it like next.yaml"
        )
    return value


FileName = Annotated[
    str,
    Strict(),
    AfterValidator(_check_file_name),
    WithJsonSchema({"type": "string", "pattern": _FILE_NAME_PATTERN}),
]
"""A file in the same folder: no path leads elsewhere."""

Switch = Annotated[bool, Strict()]
Fraction = Annotated[float, Strict(), Field(ge=0, le=1)]
DraftTokens = Annotated[int, Strict(), Field(ge=1, le=MAX_K)]
Count = Annotated[int, Strict(), Field(ge=1)]

Mode = Literal["adaptive", "threshold", "shadow", "always_speculative", "always_vanilla"]
_Choosing = Literal["adaptive", "threshold"]
CHOOSING_MODES: Final[tuple[_Choosing, ...]] = get_args(_Choosing)
"""The modes that choose per request. The others hold for everyone, whatever layers say."""


def _check_layered_mode(value: object) -> object:
    if value in get_args(Mode) and value not in CHOOSING_MODES:
        hint = f"allowed here: {', '.join(CHOOSING_MODES)}"
        raise refusal(f"the mode {value} holds for everyone: only spec.mode of the policy may say it", hint)
    return value


LayeredMode = Annotated[_Choosing, BeforeValidator(_check_layered_mode)]
"""A mode that a layer or a tenant may ask for."""

Metric = Literal["alpha", "draft_acceptance_rate"]
KMode = Literal["adaptive", "fixed", "engine"]
ObjectiveClass = Literal["interactive", "batch"]

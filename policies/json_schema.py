"""The policy format as JSON Schema, for editors and for error messages."""

from __future__ import annotations

import functools
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from policies.base import PolicyModel
from policies.problems import Path
from policies.schema import RoutingPolicy
from policies.units import format_duration


class _FileSchema(GenerateJsonSchema):
    """Describes what may stand in a file: no nulls (a key without a value is an error), units in defaults."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        default = described.get("default")
        if default is None:
            described.pop("default", None)
        elif described.get("type") == "string" and isinstance(default, float):
            described["default"] = format_duration(default)
        return described

    def field_title_should_be_set(self, schema: object) -> bool:
        """Titles would only repeat the keys."""
        del schema
        return False


def policy_json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a policy file."""
    return _json_schema(RoutingPolicy)


def allowed_keys(path: Path, model: type[PolicyModel] = RoutingPolicy) -> tuple[str, ...]:
    """The fixed keys of the mapping at a path; none where keys are free names or nothing is known."""
    schema = _cached_schema(model)
    node = schema
    for step in path:
        node = _resolved(schema, _child(node, step))
    return tuple(node.get("properties", ()))


def _json_schema(model: type[PolicyModel]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, schema_generator=_FileSchema)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


@functools.cache
def _cached_schema(model: type[PolicyModel]) -> dict[str, Any]:
    return _json_schema(model)


def _child(node: dict[str, Any], step: str | int) -> dict[str, Any]:
    if isinstance(step, int):
        child = node.get("items", {})
    else:
        # Keys that are free names are described once: under a pattern, or for all.
        free: object = next(
            iter(node.get("patternProperties", {}).values()), node.get("additionalProperties")
        )
        child = node.get("properties", {}).get(step, free)
    return child if isinstance(child, dict) else {}


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref", "")
    resolved: dict[str, Any] = schema["$defs"][reference.rpartition("/")[2]] if reference else node
    return resolved

"""The OpenAPI document: every route of the real application is described, and nothing else."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fakes import FakePool
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette

from policies.decide import Reason
from policies.loading import parse_policy
from router.errors import ApiError
from router.ingress import Router
from router.openapi import document
from router.settings import DeploymentSettings

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def app() -> Starlette:
    """The application as the composition root builds it; nothing of it is started."""
    settings = DeploymentSettings()
    found = Router(settings, {profile.name: FakePool() for profile in settings.profiles}).app()
    assert isinstance(found, Starlette)
    return found


def nodes(value: Any) -> Iterator[Any]:
    """A JSON value and everything in it."""
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inner)


def operations() -> list[tuple[str, str, Any]]:
    return [
        (path, method, made) for path, item in document()["paths"].items() for method, made in item.items()
    ]


def validator(name: str) -> Draft202012Validator:
    """Of the schema with this name."""
    return Draft202012Validator({**document(), "$ref": f"#/components/schemas/{name}"})


def test_every_route_is_described_and_nothing_else(app: Starlette) -> None:
    """By path and method; HEAD goes without saying."""
    served = {
        (re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path), method.lower())  # type: ignore[attr-defined]
        for route in app.routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
    }
    assert served == {(path, method) for path, method, _ in operations()}


def test_it_is_an_openapi_document() -> None:
    """By the validator of OpenAPI 3.1."""
    OpenAPIV31SpecValidator(document()).validate()


def test_references_lead_somewhere_and_schemas_are_schemas() -> None:
    """Of draft 2020-12, as OpenAPI 3.1 has it."""
    components = document()["components"]
    for node in nodes(document()):
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            _, kind, name = node["$ref"].removeprefix("#/").split("/")
            assert name in components[kind], node
    for schema in components["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_nothing_is_described_that_is_not_used() -> None:
    """Schemas and responses are named somewhere, operations once."""
    written = json.dumps(document())
    for kind in ("schemas", "responses"):
        for name in document()["components"][kind]:
            assert f'"#/components/{kind}/{name}"' in written, name
    names = [made["operationId"] for _, _, made in operations()]
    assert len(names) == len(set(names))
    known = {tag["name"] for tag in document()["tags"]}
    schemes = document()["components"]["securitySchemes"]
    for _, _, made in operations():
        assert set(made["tags"]) <= known
        assert {name for one in made["security"] for name in one} <= schemes.keys()


def test_what_must_come_with_a_status() -> None:
    """429 and 503 say when to come back, 401 how to say who one is; whose path is guarded may answer 401."""
    responses = document()["components"]["responses"]
    for path, _, made in operations():
        for status, response in made["responses"].items():
            found = responses[status] if "$ref" in response else response
            if status in {"429", "503"}:
                assert found["headers"]["Retry-After"]["required"], path
            if status == "401":
                assert "WWW-Authenticate" in found["headers"]
        assert ("401" in made["responses"]) == bool(made["security"]), path


def test_examples_of_ours_are_what_is_described() -> None:
    """An error, a policy, the reasons there are; and what is none of these."""
    error = ApiError("no", param="k", retry_after_s=2)
    validator("Error").validate(error.body())
    assert not validator("Error").is_valid({"error": {"message": 3, "type": "x"}})
    assert {reason.value for reason in Reason} == set(document()["components"]["schemas"]["Reason"]["enum"])
    text = {"apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": "a"}, "spec": {}}
    parse_policy(json.dumps(text).encode(), "a")
    validator("RoutingPolicy").validate(text)
    assert not validator("RoutingPolicy").is_valid({**text, "spec": {"moode": "adaptive"}})
    assert not validator("Preferences").is_valid({"threshold": {"enable_above": 2}})


async def test_it_is_served_without_a_key(app: Starlette) -> None:
    """As JSON, the same for everybody."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.example") as client:
        answer = await client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document()

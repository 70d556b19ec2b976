"""Whatever vLLM's own server answers, both routes answer too."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from comparing import normal_form
from shapes import PLAIN_ONLY, SHAPES
from waiting import ANSWER_S
from whole_service import Service

pytestmark = pytest.mark.engine


def _post(service: Service, request: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
    return httpx.post(service.url + request["path"], json=request["body"], headers=headers, timeout=ANSWER_S)


@pytest.mark.parametrize("route", ["vanilla", "speculative"])
@pytest.mark.parametrize("shape", SHAPES)
def test_answers_as_vllm_alone(
    service: Service, references: dict[str, dict[str, Any]], shape: str, route: str
) -> None:
    """Body, status and stream events equal those of vLLM's own app, on either route."""
    headers = {"X-Specroute-Route": route, "X-Specroute-K": "0" if route == "vanilla" else "8"}
    response = _post(service, SHAPES[shape], headers)
    reference = references["vanilla" if route == "vanilla" else "ngram"][shape]
    assert normal_form(response.status_code, response.text) == normal_form(
        reference["status"], reference["text"]
    )
    assert response.headers["x-specroute-route"] == route


@pytest.mark.parametrize("shape", PLAIN_ONLY)
def test_answers_as_plain_vllm_where_only_that_compares(
    service: Service, references: dict[str, dict[str, Any]], shape: str
) -> None:
    """Seeded draws and refused parameters equal those of a plain vLLM engine."""
    response = _post(service, PLAIN_ONLY[shape], {"X-Specroute-Route": "vanilla"})
    reference = references["vanilla"][shape]
    assert normal_form(response.status_code, response.text) == normal_form(
        reference["status"], reference["text"]
    )


@pytest.mark.parametrize("shape", ["min_p", "logit_bias"])
def test_what_speculation_refuses_goes_to_vanilla(service: Service, shape: str) -> None:
    """Parameters a speculative engine refuses are served plainly, and the reason says so."""
    response = _post(service, PLAIN_ONLY[shape], {"X-Specroute-Route": "speculative"})
    assert response.status_code == httpx.codes.OK
    assert response.headers["x-specroute-route"] == "vanilla"
    assert response.headers["x-specroute-reason"] == "unsupported"

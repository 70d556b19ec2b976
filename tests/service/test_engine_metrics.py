"""vLLM's own metrics, of real engines, on the service's page."""

import re

import httpx
import pytest
from whole_service import Service

pytestmark = pytest.mark.engine


def test_engines_are_on_the_page(service: Service) -> None:
    """Both, each under its profile and with its replica's name; the drafter's counters on the one that drafts."""
    page = httpx.get(f"{service.url}/metrics", timeout=180).raise_for_status().text
    found = {
        (name, profile): replica
        for name, profile, replica in re.findall(
            r'^(vllm:\w+)\{profile="([^"]*)",replica="([^"]*)"', page, flags=re.MULTILINE
        )
    }
    for profile in ("vanilla", "ngram"):
        assert found["vllm:num_requests_running", profile]
        assert found["vllm:generation_tokens_total", profile]
    assert ("vllm:spec_decode_num_draft_tokens_total", "ngram") in found
    assert ("vllm:spec_decode_num_draft_tokens_total", "vanilla") not in found
    heads = re.findall(r"^# TYPE (\S+)", page, flags=re.MULTILINE)
    assert len(heads) == len(set(heads))

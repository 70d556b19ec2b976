"""Tenants on one real engine: none finds another's prompts in its cache, none sets what is the engine's."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from engine_client import BLOCK_TOKENS, Answer, EngineHost
from engine_texts import long_text

from replicas.frames import Call
from replicas.isolation import salt_of

pytestmark = pytest.mark.engine

_NUMBERS = itertools.count()


def answer(host: EngineHost, body: dict[str, Any], *, tenant: str = "") -> Answer:
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    call = Call(
        f"isolation-{next(_NUMBERS)}",
        path,
        json.dumps(body | {"max_tokens": 4, "temperature": 0}).encode(),
        0,
        cache_salt=salt_of(tenant) if tenant else "",
    )
    return Answer(list(host.send("serve", call)))


def cached(host: EngineHost, body: dict[str, Any], *, tenant: str = "") -> int:
    """Prompt tokens that came from the cache."""
    found = answer(host, body, tenant=tenant)
    assert found.status == 200, found.data
    assert found.ending.prompt_tokens > 2 * BLOCK_TOKENS
    return found.ending.cached_tokens


@pytest.mark.parametrize("form", ["chat", "text"])
def test_a_tenant_finds_only_its_own_prompts(vanilla: EngineHost, form: str) -> None:
    """Its second request is read from the cache, another's same one is not, whatever salt it brings."""
    text = f"Confidential {form}: {long_text(400)}"
    body = {"messages": [{"role": "user", "content": text}]} if form == "chat" else {"prompt": text}
    assert cached(vanilla, body, tenant="acme") == 0
    assert cached(vanilla, body, tenant="acme") >= BLOCK_TOKENS
    assert cached(vanilla, body, tenant="beta") == 0
    for guess in (salt_of("acme"), "acme"):
        assert cached(vanilla, body | {"cache_salt": guess}, tenant="gamma") == 0
    assert cached(vanilla, body) == 0
    assert cached(vanilla, body) >= BLOCK_TOKENS  # shared, where the operator says so
    # A tenant keeps its own users apart with a salt of theirs.
    assert cached(vanilla, body | {"cache_salt": "user-1"}, tenant="acme") == 0
    assert cached(vanilla, body | {"cache_salt": "user-1"}, tenant="acme") >= BLOCK_TOKENS


def test_several_beams_stay_under_the_salt(vanilla: EngineHost) -> None:
    """Beam search makes many engine requests of one; none of them looks elsewhere."""
    body = {"prompt": f"Beams: {long_text(400)}", "use_beam_search": True, "n": 2}
    assert answer(vanilla, body, tenant="acme").status == 200
    assert cached(vanilla, {"prompt": body["prompt"]}, tenant="beta") == 0
    assert cached(vanilla, {"prompt": body["prompt"]}, tenant="acme") >= BLOCK_TOKENS


@pytest.mark.parametrize(
    "internals",
    [
        {"priority": -5},
        {"vllm_xargs": {"specroute_k": 8, "kv_transfer_params": "x", "anything": 1}},
        {"request_id": "isolation-0"},
    ],
)
def test_a_client_sets_nothing_of_the_engine(vanilla: EngineHost, internals: dict[str, Any]) -> None:
    """What would move it before others, or speak to the engine's own parts, has no effect."""
    body = {"prompt": "x y z x y z x y z"}
    plain, tried = answer(vanilla, body), answer(vanilla, body | internals)
    assert tried.status == 200
    assert tried.token_ids == plain.token_ids

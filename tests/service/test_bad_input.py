"""Every field with wrong types and extremes: a clear refusal or an answer, and both engines live on."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from waiting import ANSWER_S
from whole_service import MODEL, Service

pytestmark = pytest.mark.engine

_WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**63,
    1e308,
    -0.5,
    "",
    "x" * 3000,
    [],
    [[]],
    {},
    {"a": {"b": []}},
    [None, 5],
)
_CHAT_FIELDS = (
    "messages", "model", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "max_tokens",
    "max_completion_tokens", "n", "presence_penalty", "response_format", "seed", "stop", "stream", "stream_options",
    "temperature", "top_p", "top_k", "min_p", "tools", "tool_choice", "parallel_tool_calls", "user", "metadata",
    "repetition_penalty", "length_penalty", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "min_tokens",
    "skip_special_tokens", "spaces_between_special_tokens", "truncate_prompt_tokens", "prompt_logprobs",
    "allowed_token_ids", "bad_words", "echo", "add_generation_prompt", "continue_final_message",
    "add_special_tokens", "documents", "chat_template", "chat_template_kwargs", "mm_processor_kwargs",
    "structured_outputs", "priority", "request_id", "return_token_ids", "cache_salt", "kv_transfer_params",
    "vllm_xargs", "use_beam_search", "reasoning_effort", "logits_processors", "best_of", "unknown_field",
)  # fmt: skip
_TEXT_FIELDS = (
    "prompt",
    "suffix",
    "echo",
    "logprobs",
    "n",
    "best_of",
    "prompt_embeds",
    "stop",
    "max_tokens",
    "seed",
)
_EXTREMES: tuple[dict[str, Any], ...] = (
    {"seed": 7, "temperature": 1.0, "messages": [{"role": "user", "content": "word " * 5000}]},
    {"seed": -(2**63), "temperature": 1.0},
    {"temperature": 1e-9},
    {"temperature": 2.0, "top_p": 1e-9, "top_k": 1},
    {"logprobs": True, "top_logprobs": 20},
    {"prompt_logprobs": 20},
    {"stop": [f"stop {number}" for number in range(200)]},
    {"n": 8, "temperature": 1.0},
    {"logit_bias": {str(token): -100 for token in range(300)}},
    {"allowed_token_ids": [5]},
    {"vllm_xargs": {"specroute_k": 99, "k": "many"}},
    {"vllm_xargs": {"specroute_k": "text"}},
    {"structured_outputs": {"regex": "(a|b)*c{1,50}"}},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"$ref": "#/nowhere"}},
        }
    },
    {"messages": [{"role": "user", "content": "\ud800"}]},
    {"messages": [{"role": "user", "content": "\x00\x07"}]},
    {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x"}}]}
        ]
    },
)


def _bodies() -> list[tuple[str, dict[str, Any]]]:
    # The stops are for bodies without a limit of tokens: what is sampled may go on for eight thousand of them.
    short = {"model": MODEL, "max_tokens": 2, "stop": [" ", ".", "\n"]}
    chat = {**short, "messages": [{"role": "user", "content": "Say hi."}]}
    text = {**short, "prompt": "1 2 3"}
    bodies = [("/v1/chat/completions", chat | {field: value}) for field in _CHAT_FIELDS for value in _WRONG]
    bodies += [("/v1/completions", text | {field: value}) for field in _TEXT_FIELDS for value in _WRONG]
    return bodies + [("/v1/chat/completions", chat | extreme) for extreme in _EXTREMES]


@pytest.mark.parametrize("route", ["vanilla", "speculative"])
def test_no_field_breaks_the_service(service: Service, route: str) -> None:
    """Each is answered or refused with an OpenAI error object; no engine dies, none is left busy.

    The plain engine is asked every second one: all of them reach the one that has more to get wrong.
    """
    pids = [pool["status"]["pid"] for pool in service.admin("replicas")["pools"]]
    refused = answered = 0
    bodies = _bodies()[:: 2 if route == "vanilla" else 1]
    with httpx.Client(base_url=service.url, timeout=ANSWER_S, headers={"X-Specroute-Route": route}) as client:
        for path, body in bodies:
            content = json.dumps(body).encode()
            response = client.post(path, content=content, headers={"Content-Type": "application/json"})
            assert response.status_code < 500 or response.status_code == 501, (
                path,
                str(body)[:300],
                response.text,
            )
            if response.status_code >= 400:
                refused += 1
                assert response.json()["error"]["message"], (path, str(body)[:300])
            else:
                answered += 1
    print(f"{route}: {len(bodies)} bodies, {answered} answered, {refused} refused")
    pools = service.admin("replicas")["pools"]
    assert [pool["status"]["pid"] for pool in pools] == pids
    assert all(pool["available"] for pool in pools)
    for wanted in ("vanilla", "speculative"):
        assert service.chat("Say hi.", max_tokens=2, headers={"X-Specroute-Route": wanted}).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a":' * 5000, b'{"model": NaN}'])
def test_malformed_bodies_are_refused(service: Service, body: bytes) -> None:
    """400 with an error object, whatever the bytes."""
    response = httpx.post(f"{service.url}/v1/chat/completions", content=body, timeout=ANSWER_S)
    assert response.status_code == 400
    assert response.json()["error"]["message"]

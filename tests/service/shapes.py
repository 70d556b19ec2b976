"""Requests of many shapes, for comparing specroute with vLLM alone."""

from __future__ import annotations

from typing import Any

from whole_service import MODEL

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"

_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}},
            "required": ["city"],
        },
    },
}


def _chat(content: Any = "Name three colours of the rainbow.", **fields: Any) -> dict[str, Any]:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": 24,
    }
    return {"path": CHAT, "body": body | fields}


def _text(prompt: Any = "one two three one two three one two", **fields: Any) -> dict[str, Any]:
    return {
        "path": TEXT,
        "body": {"model": MODEL, "prompt": prompt, "temperature": 0, "max_tokens": 16} | fields,
    }


_COMMON: dict[str, dict[str, Any]] = {
    "chat": _chat(),
    "chat_content_parts": _chat([{"type": "text", "text": "Say hello"}, {"type": "text", "text": "to Ada."}]),
    "chat_system": _chat(
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    ),
    "chat_turns": _chat(
        messages=[
            {"role": "user", "content": "My name is Ada."},
            {"role": "assistant", "content": "Hello Ada."},
            {"role": "user", "content": "What is my name?"},
        ]
    ),
    "chat_stop": _chat("Count: 1, 2, 3,", stop=["6", "\n\n"]),
    "chat_stop_token": _chat(stop_token_ids=[28], max_tokens=32),
    "chat_one_token": _chat(max_tokens=1),
    "chat_max_completion_tokens": _chat(max_completion_tokens=9, max_tokens=None),
    "chat_min_tokens": _chat("Say yes.", min_tokens=12, max_tokens=20),
    "chat_ignore_eos": _chat("Say yes.", ignore_eos=True),
    "chat_logprobs": _chat(logprobs=True, top_logprobs=3, max_tokens=8),
    "chat_prompt_logprobs": _chat(prompt_logprobs=1, max_tokens=4),
    "chat_return_token_ids": _chat(return_token_ids=True, max_tokens=8),
    "chat_penalties": _chat(frequency_penalty=0.5, presence_penalty=0.5, repetition_penalty=1.1),
    "chat_bad_words": _chat(bad_words=["red"]),
    "chat_echo": _chat(echo=True, max_tokens=8),
    "chat_continue": _chat(
        messages=[{"role": "user", "content": "Count."}, {"role": "assistant", "content": "1, 2, 3,"}],
        add_generation_prompt=False,
        continue_final_message=True,
    ),
    "chat_user_fields": _chat(user="ada", metadata={"note": "x"}, store=False, unknown_field=1),
    "chat_json_object": _chat(
        "Describe Paris as JSON.", response_format={"type": "json_object"}, max_tokens=40
    ),
    "chat_json_schema": _chat(
        "Describe Paris as JSON.",
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": _SCHEMA}},
        max_tokens=40,
    ),
    "chat_regex": _chat("A date:", structured_outputs={"regex": r"\d{4}-\d{2}-\d{2}"}),
    "chat_choice": _chat("Is the sky blue?", structured_outputs={"choice": ["yes", "no"]}),
    "chat_grammar": _chat("Say it.", structured_outputs={"grammar": 'root ::= "aye" | "nay"'}),
    "chat_tools_none": _chat("Weather in Rome?", tools=[_TOOL], tool_choice="none"),
    "chat_tool_named": _chat(
        "Weather in Rome?",
        tools=[_TOOL],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        max_tokens=40,
    ),
    "chat_tool_required": _chat("Weather in Rome?", tools=[_TOOL], tool_choice="required", max_tokens=60),
    "text": _text(),
    "text_echo": _text(echo=True),
    "text_logprobs": _text(logprobs=2, max_tokens=6),
    "text_batch": _text(["one two one two", "a b c a b c a"]),
    "text_token_ids": _text([504, 2365, 6354, 504, 2365, 6354, 504]),
    "text_suffix_unsupported": _text(suffix="end"),
    "text_stop": _text("1 2 3 4 5 6 7", stop=["9"], max_tokens=24),
    "text_return_token_ids": _text(return_token_ids=True, max_tokens=6),
    "text_truncated": _text("word " * 200, truncate_prompt_tokens=32),
}
_ERRORS: dict[str, dict[str, Any]] = {
    "error_model": _chat(model="no-such-model"),
    "error_type": _chat(temperature="warm"),
    "error_negative": _chat(max_tokens=-1),
    "error_no_messages": {"path": CHAT, "body": {"model": MODEL}},
    "error_role": _chat(messages=[{"role": "wizard", "content": "x"}]),
    "error_too_long": _chat("word " * 9000),
    "error_top_p": _chat(top_p=2.0),
    "error_tool_choice": _chat(tool_choice="required"),
    "error_schema": _chat(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}}
    ),
    "error_stream_options": _chat(stream_options={"include_usage": True}),
}
_STREAMED = (
    "chat", "chat_stop", "chat_one_token", "chat_logprobs", "chat_return_token_ids", "chat_json_schema",
    "chat_tool_named", "chat_tool_required", "chat_echo", "text", "text_echo", "text_logprobs", "text_batch",
)  # fmt: skip

SHAPES: dict[str, dict[str, Any]] = (
    _COMMON
    | _ERRORS
    | {
        f"stream_{name}": {"path": _COMMON[name]["path"], "body": _COMMON[name]["body"] | {"stream": True}}
        for name in _STREAMED
    }
    | {
        "stream_usage": _chat(stream=True, stream_options={"include_usage": True}),
        "stream_usage_continuous": _chat(
            stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True}, max_tokens=6
        ),
        "stream_error": _chat(stream=True, temperature="warm"),
    }
)
"""Greedy requests, and requests that are refused: the same on every route."""

PLAIN_ONLY: dict[str, dict[str, Any]] = {
    "min_p": _chat(temperature=0.8, min_p=0.2, seed=1),
    "logit_bias": _chat(logit_bias={"28": -100}),
    "seed": _chat(temperature=0.9, seed=7),
    "n": _chat(temperature=0.9, seed=7, n=3),
    "text_n": _text(temperature=0.9, seed=7, n=2),
    "stream_n": _chat(temperature=0.9, seed=7, n=2, stream=True),
}
"""Sampled requests, whose draws depend on how the engine decodes, and those speculation refuses."""

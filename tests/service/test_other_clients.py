"""Clients people use, unmodified: the openai helpers, LangChain, vLLM's serving benchmark."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import BaseModel, Field
from whole_service import MODEL, Service

from replicas.model_store import default_cache_dir, prepare

pytestmark = pytest.mark.engine


class City(BaseModel):
    """What the model is asked to fill in."""

    name: str = Field(max_length=12)
    people: int


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
ASK = [{"role": "user", "content": "Describe Paris as JSON."}]


@pytest.mark.parametrize("route", ["vanilla", "speculative"])
def test_typed_answers_parse(service: Service, route: str) -> None:
    """`chat.completions.parse` gives an object of the asked type."""
    answer = service.client(**{"X-Specroute-Route": route}).chat.completions.parse(
        model=MODEL, messages=ASK, response_format=City, max_tokens=60, temperature=0  # type: ignore[arg-type]
    )  # fmt: skip
    assert isinstance(answer.choices[0].message.parsed, City)


@pytest.mark.parametrize("route", ["vanilla", "speculative"])
def test_tools_are_called(service: Service, route: str) -> None:
    """A required tool arrives as a parsed call with its arguments."""
    answer = service.client(**{"X-Specroute-Route": route}).chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Weather in Rome?"}], tools=[WEATHER],  # type: ignore[list-item]
        tool_choice={"type": "function", "function": {"name": "weather"}}, max_tokens=60, temperature=0,
    )  # fmt: skip
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.name == "weather"  # type: ignore[union-attr]
    assert '"city"' in calls[0].function.arguments  # type: ignore[union-attr]


def test_streaming_events_add_up(service: Service) -> None:
    """The client's event stream ends in the same message its parts make."""
    with service.client().chat.completions.stream(
        model=MODEL, messages=ASK, max_tokens=30, temperature=0  # type: ignore[arg-type]
    ) as stream:  # fmt: skip
        deltas = [event.delta for event in stream if event.type == "content.delta"]
    assert "".join(deltas) == stream.current_completion_snapshot.choices[0].message.content
    assert deltas


def test_langchain_invokes_and_streams(service: Service) -> None:
    """LangChain's ChatOpenAI gives the same text whole and streamed."""
    langchain_openai = pytest.importorskip("langchain_openai")
    model = langchain_openai.ChatOpenAI(
        base_url=f"{service.url}/v1", api_key="none", model=MODEL, temperature=0, max_tokens=24
    )
    whole = model.invoke("Name three colours.")
    assert whole.content
    assert "".join(chunk.content for chunk in model.stream("Name three colours.")) == whole.content
    assert whole.usage_metadata["output_tokens"] > 0


def test_vllms_serving_benchmark_runs(service: Service, tmp_path: Path) -> None:
    """VLLM's own load generator completes all its requests."""
    from vllm.benchmarks.serve import add_cli_args, main_async
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    folder = prepare(default_cache_dir(), progress=lambda _stage, _fraction: None)
    options = {
        "--backend": "openai-chat", "--base-url": service.url, "--endpoint": "/v1/chat/completions",
        "--dataset-name": "random", "--num-prompts": "8", "--random-input-len": "24", "--random-output-len": "12",
        "--max-concurrency": "4", "--model": MODEL, "--tokenizer": str(folder), "--result-dir": str(tmp_path),
    }  # fmt: skip
    result = asyncio.run(main_async(parser.parse_args([part for pair in options.items() for part in pair])))
    assert result["completed"] == 8
    assert result["total_output_tokens"] > 0

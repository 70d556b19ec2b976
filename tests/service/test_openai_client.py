"""The official client against the whole service."""

from __future__ import annotations

import openai
import pytest
from whole_service import MODEL, Service

pytestmark = pytest.mark.engine

PROMPT = "Repeat after me: the cat sat on the mat, the cat sat on the mat."


@pytest.mark.parametrize("route", ["vanilla", "speculative"])
def test_streamed_chat_equals_unstreamed(service: Service, route: str) -> None:
    """Chat streamed and whole give the same text, finish reason and usage."""
    client = service.client(**{"X-Specroute-Route": route})
    messages = [{"role": "user", "content": PROMPT}]
    whole = client.chat.completions.create(model=MODEL, messages=messages, temperature=0, max_tokens=40)  # type: ignore[arg-type]
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=messages, temperature=0, max_tokens=40, stream=True,  # type: ignore[arg-type]
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize("route", ["vanilla", "speculative"])
def test_streamed_completion_equals_unstreamed(service: Service, route: str) -> None:
    """Text completions streamed and whole give the same text."""
    client = service.client(**{"X-Specroute-Route": route})
    whole = client.completions.create(model=MODEL, prompt=PROMPT, temperature=0, max_tokens=24)
    chunks = client.completions.create(model=MODEL, prompt=PROMPT, temperature=0, max_tokens=24, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text


def test_models_are_listed(service: Service) -> None:
    """The client's model list names the served model."""
    assert [model.id for model in service.client().models.list()] == [MODEL]


def test_errors_are_the_clients_own(service: Service) -> None:
    """Refusals arrive as the client's typed exceptions, and the service goes on."""
    client = service.client()
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 9000}])
    with pytest.raises(openai.NotFoundError, match="no such endpoint"):
        client.embeddings.create(model=MODEL, input="x")
    assert client.models.list().data

"""What must be the same in two answers: everything but ids, times and how tokens were grouped into events."""

from __future__ import annotations

import json
from typing import Any

_VARYING = {"id", "created", "system_fingerprint"}


def normal_form(status: int, text: str) -> Any:
    """An answer without what may differ: a body, or the events of a stream with adjacent text joined."""
    if text.startswith("data: "):
        return status, _joined(_events(text))
    return status, _without_varying(json.loads(text))


def _events(text: str) -> list[Any]:
    payloads = [part.removeprefix("data: ") for part in text.strip().split("\n\n")]
    return [payload if payload == "[DONE]" else _without_varying(json.loads(payload)) for payload in payloads]


def _without_varying(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_varying(part) for name, part in value.items() if name not in _VARYING}
    if isinstance(value, list):
        return [_without_varying(part) for part in value]
    return value


def _joined(events: list[Any]) -> list[Any]:
    """Stream events per choice, each run of text events made one: a speculative step may carry several tokens."""
    result: list[Any] = []
    for event in events:
        last = _last_of_choice(result, event)
        if last is not None and _joins(last, event):
            _append(last["choices"][0], event["choices"][0])
            if "usage" in event:
                last["usage"] = event["usage"]
        else:
            result.append(event)
    # Choices of one stream arrive interleaved as they please.
    return sorted(result, key=lambda event: _choice(event) if isinstance(event, dict) else 99)


def _choice(event: Any) -> int:
    choices = event.get("choices") if isinstance(event, dict) else None
    return int(choices[0]["index"]) if choices else 98


def _last_of_choice(result: list[Any], event: Any) -> Any:
    if not isinstance(event, dict) or not event.get("choices"):
        return None
    return next((e for e in reversed(result) if isinstance(e, dict) and _choice(e) == _choice(event)), None)


def _joins(last: Any, event: Any) -> bool:
    """Whether both are pieces of text; the first event of a chat names the role and stands alone."""
    if not last.get("choices") or "role" in (last["choices"][0].get("delta") or {}):
        return False
    return last["choices"][0].get("finish_reason") is None


def _append(target: Any, piece: Any) -> None:
    for name, value in piece.items():
        old = target.get(name)
        if name == "index":
            continue
        if name == "tool_calls":
            _append_calls(old, value)
        elif isinstance(old, dict) and isinstance(value, dict):
            _append(old, value)
        elif (isinstance(old, list) and isinstance(value, list)) or (
            isinstance(old, str)
            and isinstance(value, str)
            and name in {"content", "text", "arguments", "reasoning"}
        ):
            target[name] = old + value
        elif value is not None or name not in target:
            target[name] = value


def _append_calls(old: Any, new: Any) -> None:
    for call in new:
        known = next((c for c in old if c["index"] == call["index"]), None)
        if known is None:
            old.append(call)
        else:
            _append(known["function"], call.get("function") or {})

"""Requests of the demo as it notes them."""

from __future__ import annotations

from router.demo.rows import Pass, Phase, Row

TOKENS = 21


def row(
    phase: Phase,
    prompt: str,
    *,
    tpot_ms: float,
    k: int = 0,
    task: str = "code",
    tokens: int = TOKENS,
    accepts: int = 3,
    text: str = "same",
    beside: Pass = "second",
) -> Row:
    """A finished request: with k > 0 every step drafts k tokens and accepts `accepts` of them."""
    steps = (tokens - 1) // (1 + accepts) if k else tokens - 1
    return Row(
        phase=phase,
        beside=beside if phase == "vanilla" else phase,
        prompt=prompt,
        intended_task=task,
        concurrency=1,
        task=task,
        route="speculative" if k else "vanilla",
        profile="ngram" if k else "vanilla",
        k=k,
        reason="override" if phase == "vanilla" else "alpha_above",
        tokens=tokens,
        decode_s=tpot_ms / 1000 * (tokens - 1),
        steps=steps,
        per_step_drafted=[k] * steps,
        per_step_accepted=[accepts if k else 0] * steps,
        text=text,
    )


def failed(phase: Phase, prompt: str, task: str = "code") -> Row:
    """A request of which nothing is known but that it failed."""
    return Row(phase, "first", prompt, task, 1, error="HTTP 503: no engine")


def learning_rows(count: int = 12, *, second_ms: float = 25.0) -> list[Row]:
    """Code moves to speculation in the second pass, creative stays vanilla; vanilla takes 50 ms a token."""
    rows = []
    for number in range(count):
        rows += [
            row("first", f"code-{number}", tpot_ms=50),
            row("second", f"code-{number}", tpot_ms=second_ms, k=4),
            row("vanilla", f"code-{number}", tpot_ms=50),
            row("vanilla", f"code-{number}", tpot_ms=50, beside="first"),
            row("first", f"creative-{number}", tpot_ms=50, task="creative"),
            row("second", f"creative-{number}", tpot_ms=50, task="creative"),
            row("vanilla", f"creative-{number}", tpot_ms=50, task="creative"),
            row("vanilla", f"creative-{number}", tpot_ms=50, task="creative", beside="first"),
        ]
    return rows

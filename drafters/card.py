"""What a drafter's README.md says: what it is for, what it was made from and under which licence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_ASKED: Final = {
    False: "prompts made from the project's templates, and to an operator's own where it was given any",
    True: "a service's requests, as it captured them, beginning with the weights of an earlier drafter",
}


def notes(report: Mapping[str, Any]) -> str:
    """Markdown from a drafter's report."""
    rows = "\n".join(_row(name, counts) for name, counts in report["held_out"].items())
    positions = range(1, 1 + len(report["held_out"]["all"]["alpha_by_position"]))
    heads = " | ".join(f"alpha {position}" for position in positions)
    rules = " | ".join("---:" for _ in positions)
    coverage = report["draft_vocabulary_coverage"]
    refreshed = "refreshed_from" in report
    return f"""# An EAGLE-3 drafter for {report["target"]}

Made by `specroute draft {"refresh" if refreshed else "train"}`; engines \
load this folder with `method: eagle3`. It is of use only with
the model it was trained on: it reads that model's hidden states after three of its layers.

| held-out answers{"" if refreshed else ", greedy"} | {heads} | acceptance length | steps |
|---|{rules.replace(" ", "")}|---:|---:|
{rows}

Alpha i is the share of i-th draft tokens that were accepted where those before them were. The draft
vocabulary of {report["size"]["draft_vocabulary"]:,} tokens covers {coverage:.1%} of what the model says.

## Data and licence

Trained on {report["answer_tokens"]:,} tokens of {report["answers"]:,} answers that the model itself
gave to {_ASKED[refreshed]}.
Measured on {report["held_out_answers"]:,} answers to {"conversations" if refreshed else "templates"} that \
nothing was learned from.
Weights that began as the model's (its final norm, rows of its head) stay under the model's licence:
Apache-2.0 for SmolLM2-135M-Instruct. The rest is under the project's, Apache-2.0 too.
"""


def _row(name: str, counts: Mapping[str, Any]) -> str:
    alphas = " | ".join("" if alpha is None else f"{alpha:.2f}" for alpha in counts["alpha_by_position"])
    return f"| {name or 'no task'} | {alphas} | {counts['acceptance_length'] or 0:.2f} | {counts['steps']} |"

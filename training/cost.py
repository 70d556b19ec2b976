"""What a wrong class costs: decode time when a request is routed by the estimates of another task.

Before there is evidence, a task's estimates are its prior. A request of task A that is taken for B gets the
k that is best for B's prior; its time per token is that of A's acceptance at that k:

    cost(A, B) = speedup_A(k_A) / speedup_A(k_B) - 1 >= 0
    k_X = the k in 0..K with the highest speedup_X(k)

with `policies.speedup.speedups`. Weighted with a confusion matrix this is the decode time the errors cost.
With evidence the same holds with the tasks' measured acceptance; errors then blur the evidence of both tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from policies.priors import prior
from policies.speedup import StepCost, speedups


@dataclass(frozen=True, slots=True)
class Table:
    """A kind of speculation: its drafting method, its step cost and the largest k."""

    name: str
    method: str
    cost: StepCost
    highest: int


TABLES = (
    Table("n-gram, CPU", "ngram", StepCost(verify=0.7, per_token=0.01, per_draft_token=0.0), 8),
    Table("n-gram, idle GPU", "ngram", StepCost(verify=0.05, per_token=0.01, per_draft_token=0.0), 8),
    Table(
        "two models, idle GPU", "draft_model", StepCost(verify=0.05, per_token=0.01, per_draft_token=0.08), 8
    ),
    Table(
        "two models, busy GPU", "draft_model", StepCost(verify=0.1, per_token=0.15, per_draft_token=0.08), 8
    ),
)
"""The CPU's step cost is the one measured in docs/decisions/0004. The GPU's are round figures: a pass that
has compute to spare, and one that has little."""


def best_k(table: Table, task: str) -> int:
    """The k with the highest speedup under the task's prior; 0 is plain decoding."""
    found = _speedups(table, task)
    return max(range(len(found)), key=found.__getitem__)


def excess(table: Table, truth: str, answer: str) -> float:
    """Decode time of a request of `truth` routed as `answer`, over its best, less 1."""
    own = _speedups(table, truth)
    return own[best_k(table, truth)] / own[best_k(table, answer)] - 1.0


def expected_excess(table: Table, answers: Mapping[str, Counter[str]]) -> float:
    """Mean excess over tasks, each weighing alike, under a confusion matrix."""
    by_task = [
        sum(count * excess(table, truth, answer) for answer, count in row.items()) / row.total()
        for truth, row in answers.items()
    ]
    return sum(by_task) / len(by_task)


def cost_table(answers: Mapping[str, Counter[str]]) -> Iterator[str]:
    """Lines of Markdown: per task what its errors cost in every table, and the worst error."""
    yield "| truth | " + " | ".join(f"{table.name}: best k, cost" for table in TABLES) + " |"
    yield "| --- |" + " --- |" * len(TABLES)
    for truth in sorted(answers):
        row = answers[truth]
        cells = []
        for table in TABLES:
            mean = sum(n * excess(table, truth, answer) for answer, n in row.items()) / row.total()
            cells.append(f"k = {best_k(table, truth)}, {mean:.2%}")
        yield f"| {truth} | " + " | ".join(cells) + " |"
    yield "| **mean** | " + " | ".join(f"{expected_excess(t, answers):.2%}" for t in TABLES) + " |"
    worst = [max((excess(t, a, b), a, b) for a in answers for b in answers) for t in TABLES]
    yield "| worst single error | " + " | ".join(f"{x:.0%} ({a} as {b})" for x, a, b in worst) + " |"


def _speedups(table: Table, task: str) -> list[float]:
    assumed = prior(table.method, task)
    return speedups(assumed.acceptance, assumed.coverage, table.highest, table.cost)

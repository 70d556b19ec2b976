"""What docs/metrics.md says beside the list of metrics: questions worth asking, and vLLM's own metrics."""

from __future__ import annotations

from typing import Final, NamedTuple


class Question(NamedTuple):
    """A question an operator has, and the PromQL that answers it."""

    asked: str
    promql: str


QUESTIONS: Final = (
    Question(
        "Which tasks gain, and how much: times as fast as the plain route was predicted to be",
        "sum by (task) (rate(specroute_speculative_instead_seconds_total[1h]))"
        " / sum by (task) (rate(specroute_speculative_decode_seconds_total[1h]))",
    ),
    Question(
        "How much decoding time speculation saves, in seconds per second",
        "sum(rate(specroute_speculative_instead_seconds_total[1h]))"
        " - sum(rate(specroute_speculative_decode_seconds_total[1h]))",
    ),
    Question(
        "Share of requests that speculate, by task",
        'sum by (task) (rate(specroute_requests_total{route="speculative"}[5m]))'
        " / sum by (task) (rate(specroute_requests_total[5m]))",
    ),
    Question("Why requests go where they go", "sum by (reason) (rate(specroute_requests_total[5m]))"),
    Question("Alpha by task, with its interval: plot the three", "specroute_alpha"),
    Question(
        "Draft acceptance rate of the last five minutes",
        "sum by (profile, task) (rate(specroute_accepted_tokens_total[5m]))"
        " / sum by (profile, task) (rate(specroute_drafted_tokens_total[5m]))",
    ),
    Question(
        "Acceptance length of the last five minutes: tokens per pass",
        "1 + sum by (profile, task) (rate(specroute_accepted_tokens_total[5m]))"
        " / sum by (profile, task) (rate(specroute_steps_total[5m]))",
    ),
    Question("Mean k", "sum(rate(specroute_k_sum[5m])) / sum(rate(specroute_k_count[5m]))"),
    Question(
        "95th percentile of the time to first token, by route",
        "histogram_quantile(0.95, sum by (route, le) (rate(specroute_ttft_seconds_bucket[5m])))",
    ),
    Question(
        "Mean time per output token, by task and route",
        "sum by (task, route) (rate(specroute_decode_seconds_total[5m]))"
        " / sum by (task, route) (rate(specroute_decoded_tokens_total[5m]))",
    ),
    Question(
        "Output tokens per second of a tenant's answers, by route",
        "sum by (tenant, route) (rate(specroute_tenant_decoded_tokens_total[5m]))"
        " / sum by (tenant, route) (rate(specroute_tenant_decode_seconds_total[5m]))",
    ),
    Question(
        "Draft acceptance rate of a tenant",
        "sum by (tenant) (rate(specroute_tenant_accepted_tokens_total[5m]))"
        " / sum by (tenant) (rate(specroute_tenant_drafted_tokens_total[5m]))",
    ),
    Question("Changes of acceptance in the last day", "increase(specroute_drift_events_total[1d]) > 0"),
    Question(
        "99th percentile of what a decision takes",
        "histogram_quantile(0.99, sum by (le) (rate(specroute_decision_seconds_bucket[5m])))",
    ),
    Question(
        "Share of requests that failed, broken streams included",
        '(sum(rate(specroute_http_responses_total{code=~"5.."}[5m]))'
        " + sum(rate(specroute_broken_streams_total[5m])))"
        " / sum(rate(specroute_http_responses_total[5m]))",
    ),
    Question(
        "How full the engines are, as this router sees it",
        "specroute_admission_running / specroute_admission_slots",
    ),
    Question(
        "Which policy was in force when",
        "max by (name, revision) (specroute_policy_info)",
    ),
)

_ENGINE_QUESTIONS: Final = (
    Question(
        "Is a drafter's work kept: tokens accepted per token proposed",
        "sum by (profile, replica) (rate(vllm:spec_decode_num_accepted_tokens_total[5m]))"
        " / sum by (profile, replica) (rate(vllm:spec_decode_num_draft_tokens_total[5m]))",
    ),
    Question("How full the KV cache is, from 0 to 1", "vllm:kv_cache_usage_perc"),
    Question(
        "Whether an engine preempts requests",
        "sum by (profile, replica) (rate(vllm:num_preemptions_total[5m]))",
    ),
)

_ENGINES: Final = """\
The engines have vLLM's metrics, such as `vllm:num_requests_running` and `vllm:kv_cache_usage_perc`: all of
[vLLM's list](https://docs.vllm.ai/en/stable/usage/metrics/).

- On `GET /metrics` of the service port they follow the router's, with the labels `profile` and `replica`
  more. The router asks its engines for them at every scrape; one that takes longer than 3 s is left out.
- On Ray's metrics endpoint they are called `ray_vllm_…` (a colon becomes an underscore) and carry
  `ReplicaId`, which is the same name: the one `/admin/v1/replicas` shows.
"""


def table(questions: tuple[Question, ...]) -> list[str]:
    """Questions as the lines of a Markdown table."""
    return [
        "| question | PromQL |",
        "|---|---|",
        *(f"| {question.asked} | `{question.promql}` |" for question in questions),
    ]


def sections() -> list[str]:
    """The lines after the list of metrics."""
    return [
        "## Questions worth asking",
        "",
        *table(QUESTIONS),
        "",
        "## vLLM's own",
        "",
        _ENGINES,
        *table(_ENGINE_QUESTIONS),
        "",
    ]

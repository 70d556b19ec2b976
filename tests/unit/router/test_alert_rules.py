"""Every alert fires on what it is for, and on nothing else; under plain names and under Ray's."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from promtool import Case, check, needs_promtool

from router.monitoring.alerts import RUNBOOKS, alerts
from router.monitoring.files import KUBERNETES, ROOT, RULES
from router.monitoring.page import described
from router.monitoring.recorded import ENGINE_PREFIXES, PREFIXES, recorded
from router.monitoring.rules import prometheus_rule, rule_file

pytestmark = pytest.mark.unit

ALERTS = {alert.name: alert for alert in alerts()}
RUNBOOK = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
PARTS = ("_bucket", "_sum", "_count")

WELL = {
    'specroute_http_responses_total{code="200"}': "0+60x600",
    'specroute_http_responses_total{code="503"}': "0+0x600",
    "specroute_broken_streams_total": "0+0x600",
    "specroute_store_up": "1x600",
    "specroute_ready": "1x600",
    'specroute_pool_up{profile="ngram"}': "1x600",
    'specroute_drift_events_total{profile="ngram",kind="task_fell",task="code"}': "0x600",
    'specroute_drift_events_total{profile="ngram",kind="task_rose",task="code"}': "0x300 1x300",
    'specroute_drift_events_total{profile="ngram",kind="drafter_rot",task=""}': "0x600",
    'specroute_predicted_over_measured{profile="ngram"}': "1.05x600",
    'specroute_speculative_decode_seconds_total{profile="ngram",task="code"}': "0+30x600",
    'specroute_speculative_instead_seconds_total{profile="ngram",task="code"}': "0+60x600",
    'specroute_failovers_total{stage="mid_stream"}': "0x20 1x580",
    'specroute_policy_rejected{source="file"}': "0x600",
    'specroute_refused_total{cause="queue_full"}': "0x600",
    'specroute_refused_total{cause="max_concurrency"}': "0+1x600",
    'specroute_decision_log_lines_total{result="dropped"}': "0x600",
    'specroute_decision_log_lines_total{result="written"}': "0+60x600",
    'specroute_decision_seconds_bucket{le="0.001"}': "0+60x600",
    'specroute_decision_seconds_bucket{le="0.005"}': "0+60x600",
    'specroute_decision_seconds_bucket{le="0.01"}': "0+60x600",
    'specroute_decision_seconds_bucket{le="+Inf"}': "0+60x600",
    "specroute_canary_stops_total": "0x600",
}
"""An hour and more of a service that is well: nothing here is worth an alert."""

TASK = {"profile": "ngram", "task": "code"}
ILL: dict[str, tuple[dict[str, str], list[dict[str, str]]]] = {
    "SpecrouteAlphaFell": (
        {'specroute_drift_events_total{profile="ngram",kind="task_fell",task="code"}': "0x50 1x50"},
        [{**TASK, "kind": "task_fell"}],
    ),
    "SpecrouteDrafterRot": (
        {'specroute_drift_events_total{profile="ngram",kind="drafter_rot",task=""}': "0x50 1x50"},
        [{"profile": "ngram", "kind": "drafter_rot"}],
    ),
    "SpecroutePredictionsOff": (
        {'specroute_predicted_over_measured{profile="ngram"}': "0.5x600"},
        [{"profile": "ngram"}],
    ),
    "SpecrouteNoGain": (
        {'specroute_speculative_instead_seconds_total{profile="ngram",task="code"}': "0+27x600"},
        [TASK],
    ),
    "SpecrouteCanaryStopped": ({"specroute_canary_stops_total": "0x50 1x50"}, [{}]),
    "SpecrouteNoEngine": ({"specroute_ready": "1x50 0x50"}, [{}]),
    "SpecroutePoolDown": ({'specroute_pool_up{profile="ngram"}': "1x40 0x60"}, [{"profile": "ngram"}]),
    "SpecrouteFailovers": ({'specroute_failovers_total{stage="mid_stream"}': "0x50 8x50"}, [{}]),
    "SpecrouteStoreDown": ({"specroute_store_up": "1x40 0x60"}, [{}]),
    "SpecroutePolicyRejected": (
        {'specroute_policy_rejected{source="file"}': "0x40 1x60"},
        [{"source": "file"}],
    ),
    "SpecrouteDecisionLogLosing": (
        {'specroute_decision_log_lines_total{result="dropped"}': "0x30 1+1x60"},
        [{"result": "dropped"}],
    ),
    "SpecrouteQueueSaturated": (
        {'specroute_refused_total{cause="queue_full"}': "0x30 1+1x60"},
        [{}],
    ),
    "SpecrouteSlowDecisions": (
        {
            'specroute_decision_seconds_bucket{le="0.001"}': "0+30x600",
            'specroute_decision_seconds_bucket{le="0.005"}': "0+30x600",
        },
        [{}],
    ),
    # 20 % and 1 % of the requests fail; after so little time both windows hold the same.
    "SpecrouteErrorBudgetBurnFast": ({'specroute_http_responses_total{code="503"}': "0+15x600"}, [{}]),
    "SpecrouteErrorBudgetBurn": ({"specroute_broken_streams_total": "0+0.6x600"}, [{}]),
}


def cases() -> list[Case]:
    """The service that is well, and one for every alert."""
    also = {"SpecrouteErrorBudgetBurnFast": [("SpecrouteErrorBudgetBurn", dict[str, str]())]}
    return [
        Case(WELL, []),
        *(
            Case({**WELL, **changed}, [*((name, labels) for labels in found), *also.get(name, ())])
            for name, (changed, found) in ILL.items()
        ),
    ]


@needs_promtool
@pytest.mark.parametrize("prefix", PREFIXES)
def test_alerts_fire_where_they_should_and_nowhere_else(tmp_path: Path, prefix: str) -> None:
    """Each on the one figure that went wrong, and only that; none while all is well."""
    check(tmp_path, [case.document(prefix) for case in cases()], every="2m")


@needs_promtool
def test_a_small_loss_for_long_burns_the_budget_too(tmp_path: Path) -> None:
    """0.3 % of the requests failing for a night raise the slow alert, and not those that wake somebody."""
    series = {
        'specroute_http_responses_total{code="200"}': "0+1000x400",
        'specroute_http_responses_total{code="503"}': "0+3x400",
        "specroute_broken_streams_total": "0x400",
        "specroute_store_up": "1x400",
    }
    slow = Case(series, [("SpecrouteErrorBudgetBurnSlow", {})], at="10h", step="2m")
    check(tmp_path, [slow.document()], every="10m")


@needs_promtool
def test_nothing_to_scrape_is_an_alert(tmp_path: Path) -> None:
    """The one that is there where no figure is."""
    gone = Case({"specroute_store_up": "1x20 _x60"}, [("SpecrouteDown", {})])
    check(tmp_path, [gone.document()])


@needs_promtool
def test_both_ways_at_once_count_once(tmp_path: Path) -> None:
    """Two moved requests of a router that is scraped under both names are not four."""
    name = 'specroute_failovers_total{stage="mid_stream"}'
    twice = {name: "0x50 2x50", f"ray_{name}": "0x50 2x50"}
    check(tmp_path, [Case({**WELL, **twice}, []).document()])


def test_every_alert_is_tried() -> None:
    """Those that need other series have tests of their own."""
    assert ALERTS.keys() - ILL.keys() == {"SpecrouteDown", "SpecrouteErrorBudgetBurnSlow"}


def test_every_alert_has_its_runbook() -> None:
    """One entry each, under its name, with what it means, what it costs, where to look and what helps."""
    entries = re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]
    names = [entry.partition("\n")[0].strip() for entry in entries]
    assert sorted(names) == sorted(ALERTS)
    for entry in entries:
        for part in ("**Meaning.**", "**Impact.**", "**Diagnosis.**", "**Mitigation.**"):
            assert part in entry, (entry.partition("\n")[0], part)
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][1]["rules"]
    assert {rule["annotations"]["runbook_url"] for rule in rules} == {
        f"{RUNBOOKS}#{name.lower()}" for name in names
    }


def test_whoever_publishes_the_runbooks_has_alerts_point_there() -> None:
    """Both rule files, and nothing else of them changes."""
    here = "https://wiki.internal/specroute"
    for write in (rule_file, prometheus_rule):
        assert write(here) == write().replace(RUNBOOKS, here) != write()


def test_runbooks_name_commands_that_exist() -> None:
    """Of the command line and of the admin API."""
    from typer.testing import CliRunner

    from router.cli import app

    for words in set(re.findall(r"specroute ((?:policy |models |keys )?[a-z-]+)", RUNBOOK)):
        found = CliRunner().invoke(app, [*words.split(), "--help"])
        assert found.exit_code == 0, words
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for path in set(re.findall(r"/(?:admin/v1|v1/specroute)/[a-z/]+", RUNBOOK)):
        assert path in operations, path


def test_recorded_figures_stand_on_metrics_that_exist() -> None:
    """With labels that these have."""
    metrics = {metric.name: metric for metric in described()}
    for rule in recorded():
        if rule.prefixes is ENGINE_PREFIXES:
            continue
        names = [f"specroute_{name}" for name in re.findall(r"@(\w+)", rule.expression)]
        bases = [
            re.sub(rf"({'|'.join(PARTS)})$", "", name) if name not in metrics else name for name in names
        ]
        assert set(bases) <= metrics.keys(), rule.name
        for grouped in re.findall(r"by \(([^)]*)\)", rule.expression):
            labels = {label.strip() for label in grouped.split(",") if label.strip()}
            assert labels - {"namespace", "le"} <= set(metrics[bases[0]].labels), rule.name


def test_engine_figures_stand_on_metrics_of_this_vllm() -> None:
    """Its source names them; a vLLM that renames one is noticed here."""
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    source = "".join(
        (Path(spec.origin).parent / "v1" / part).read_text(encoding="utf-8")
        for part in ("metrics/loggers.py", "spec_decode/metrics.py")
    )
    rules = [rule for rule in recorded() if rule.prefixes is ENGINE_PREFIXES]
    assert rules
    for rule in rules:
        for name in re.findall(r"@(\w+)", rule.expression):
            assert f'"vllm:{name.removesuffix("_total")}"' in source, name


@needs_promtool
def test_engine_figures_are_the_same_both_ways(tmp_path: Path) -> None:
    """From the service's page and from Ray's endpoint, with the replica's name."""
    plain = {
        'vllm:num_requests_running{engine="0",profile="ngram",replica="n1"}': "3x20",
        'vllm:generation_tokens_total{engine="0",profile="ngram",replica="n1"}': "0+60x20",
    }
    of_ray = {
        'ray_vllm_num_requests_running{engine="0",ReplicaId="n1"}': "3x20",
        'ray_vllm_generation_tokens_total{engine="0",ReplicaId="n1"}': "0+60x20",
    }
    wanted = {"specroute:engine_running:sum": 3, "specroute:engine_generated_tokens:rate5m": 1}
    for series in (plain, of_ray):
        test = Case(series, []).document()
        test["promql_expr_test"] = [
            {
                "expr": name,
                "eval_time": "15m",
                "exp_samples": [{"labels": f'{name}{{replica="n1"}}', "value": value}],
            }
            for name, value in wanted.items()
        ]
        check(tmp_path, [test])


def asked_figures(promql: str) -> set[str]:
    return set(re.findall(r"specroute:\w+:\w+", promql))


def test_alerts_and_panels_ask_for_recorded_figures_only() -> None:
    """And for figures that are recorded."""
    known = {rule.name for rule in recorded()}
    dashboard = json.loads((KUBERNETES / "grafana-dashboard.json").read_text(encoding="utf-8"))
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    marks = [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    for promql in (*panels, *marks, *(alert.promql for alert in ALERTS.values())):
        assert asked_figures(promql)
        assert asked_figures(promql) <= known, promql
        assert not re.search(r"specroute_\w+", promql)


def test_the_operators_resource_has_the_same_rules() -> None:
    """So that what promtool has seen is what runs."""
    resource = yaml.safe_load((KUBERNETES / "prometheus-rules.yaml").read_text(encoding="utf-8"))
    assert resource["kind"] == "PrometheusRule"
    assert resource["spec"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))


def test_panels_do_not_overlap() -> None:
    """Every panel has an id and a place of its own on Grafana's 24 columns."""
    dashboard = json.loads((KUBERNETES / "grafana-dashboard.json").read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))

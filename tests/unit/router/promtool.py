"""Prometheus' own unit tests of rules, written by ours: series in, alerts out."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from router.monitoring.alerts import alerts
from router.monitoring.files import RULES

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="needs promtool, of the distribution's prometheus"
)
SEVERITIES = {alert.name: alert.severity for alert in alerts()}

Labels = Mapping[str, str]


class Case(NamedTuple):
    """Series by name in promtool's notation, a value every `step`, and all alerts that fire `at` a time."""

    series: Mapping[str, str]
    firing: Sequence[tuple[str, Labels]]
    at: str = "1h"
    step: str = "1m"

    def document(self, prefix: str = "specroute_") -> dict[str, Any]:
        """The test, with the metrics under this prefix."""
        return {
            "interval": self.step,
            "input_series": [
                {"series": name.replace("specroute_", prefix, 1), "values": values}
                for name, values in self.series.items()
            ],
            "promql_expr_test": [
                {
                    "expr": 'ALERTS{alertstate="firing"}',
                    "eval_time": self.at,
                    "exp_samples": [{"labels": _sample(*alert), "value": 1} for alert in self.firing],
                }
            ],
        }


def _sample(name: str, labels: Labels) -> str:
    every = {
        "alertname": name,
        "alertstate": "firing",
        "severity": SEVERITIES[name],
        "service": "specroute",
        **labels,
    }
    return f"ALERTS{{{', '.join(f'{label}={json.dumps(value)}' for label, value in every.items())}}}"


def check(folder: Path, tests: Sequence[dict[str, Any]], *, every: str = "1m") -> None:
    """Let promtool judge; JSON is YAML.

    Groups are evaluated in any order unless it is told: alerts must see what was recorded at the same time, for
    what was recorded the time before is stale after five minutes.
    """
    assert PROMTOOL is not None
    groups = [group["name"] for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]]
    file = folder / "tests.json"
    document = {"rule_files": [str(RULES)], "evaluation_interval": every, "group_eval_order": groups}
    file.write_text(json.dumps({**document, "tests": tests}))
    told = subprocess.run(
        [PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False, timeout=600
    )
    assert told.returncode == 0, told.stdout + told.stderr

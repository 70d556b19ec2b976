"""The rules as files: plain for Prometheus and promtool, and as the Prometheus operator's resource."""

from __future__ import annotations

from typing import Any, Final

import yaml

from router.monitoring.alerts import RUNBOOKS, alerts
from router.monitoring.recorded import recorded

_NOTE: Final = "# Written by `python -m router.monitoring`; do not edit. Alerts: docs/runbooks.md.\n"


def groups(runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """The rule groups, as Prometheus reads them; `runbooks` is the address of docs/runbooks.md."""
    return {
        "groups": [
            {
                "name": "specroute.recorded",
                "interval": "30s",
                "rules": [{"record": rule.name, "expr": rule.promql} for rule in recorded()],
            },
            {
                "name": "specroute.alerts",
                "interval": "30s",
                "rules": [
                    {
                        "alert": alert.name,
                        "expr": alert.promql,
                        "for": alert.lasting,
                        "labels": {"severity": alert.severity, "service": "specroute"},
                        "annotations": {
                            "summary": alert.summary,
                            "description": alert.description,
                            "runbook_url": f"{runbooks}#{alert.name.lower()}",
                        },
                    }
                    for alert in alerts()
                ],
            },
        ]
    }


def rule_file(runbooks: str = RUNBOOKS) -> str:
    """For `rule_files` of a Prometheus configuration, and for promtool."""
    return _NOTE + _dumped(groups(runbooks))


def prometheus_rule(runbooks: str = RUNBOOKS) -> str:
    """For the Prometheus operator."""
    return _NOTE + _dumped(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "specroute"},
            "spec": groups(runbooks),
        }
    )


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _dumped(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)

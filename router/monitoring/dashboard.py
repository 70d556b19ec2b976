"""The Grafana dashboard: which tasks gain and how much, what changed, why; then what the service needs."""

from __future__ import annotations

import json
from typing import Any, Final

from router.monitoring.dashboard_parts import IN
from router.monitoring.dashboard_rows import panels
from router.monitoring.panels import grid

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> str:
    """The dashboard as JSON, for Grafana's import or its sidecar."""
    document = {
        "uid": "specroute",
        "title": "specroute",
        "description": "Which tasks gain from speculative decoding and by how much, what changed, and why.",
        "tags": ["specroute"],
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), *map(_variable, ("namespace", "task", "tenant"))]},
        "annotations": {"list": _annotations()},
        "panels": grid(panels(), _SOURCE),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(label: str) -> dict[str, Any]:
    figure = "specroute:tenant_requests:rate5m" if label == "tenant" else "specroute:requests:rate5m"
    everything = {"selected": True, "text": "All", "value": "$__all"}
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values({figure}, {label})",
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": everything,
        "sort": 1,
    }


def _annotations() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "datasource": _SOURCE,
            "enable": True,
            "iconColor": color,
            "expr": promql,
            "titleFormat": title,
            "step": "60s",
        }
        for name, color, promql, title in (
            (
                "Drift",
                "orange",
                f"specroute:drift_events:increase30m{IN} > 0",
                "{{kind}} {{task}} on {{profile}}",
            ),
            (
                "Policy",
                "blue",
                f"specroute:policy_info:max{IN} unless specroute:policy_info:max{IN} offset 2m",
                "policy {{name}}@{{revision}}",
            ),
        )
    ]

"""Which files are generated, and where they stand in the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from router.monitoring.alerts import RUNBOOKS
from router.monitoring.dashboard import dashboard
from router.monitoring.page import page
from router.monitoring.rules import prometheus_rule, rule_file

ROOT: Final = Path(__file__).parents[2]
KUBERNETES: Final = ROOT / "k8s" / "monitoring"
RULES: Final = KUBERNETES / "rules.yaml"


def files(runbooks: str = RUNBOOKS) -> dict[Path, str]:
    """Every generated file with its text; alerts point to the page at `runbooks`."""
    return {
        ROOT / "docs" / "metrics.md": page(),
        RULES: rule_file(runbooks),
        KUBERNETES / "prometheus-rules.yaml": prometheus_rule(runbooks),
        KUBERNETES / "grafana-dashboard.json": dashboard(),
    }

"""k8s/monitoring: what it selects exists in the base manifests, and nothing is left out."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from router.monitoring.files import KUBERNETES, files

pytestmark = pytest.mark.unit

BASE = KUBERNETES.parent / "base"
APART = {"rules.yaml", "scrape-config.yaml", "kustomization.yaml"}


def document(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def pods() -> list[dict[str, Any]]:
    """The pod templates of the cluster."""
    cluster = document(BASE / "rayservice.yaml")["spec"]["rayClusterConfig"]
    return [
        cluster["headGroupSpec"]["template"],
        *(group["template"] for group in cluster["workerGroupSpecs"]),
    ]


def test_the_folder_is_what_is_applied() -> None:
    """Every manifest is a resource, but for the ways not taken, which the kustomization names."""
    kustomization = document(KUBERNETES / "kustomization.yaml")
    generated = [name for made in kustomization["configMapGenerator"] for name in made["files"]]
    found = {path.name for path in KUBERNETES.iterdir()} - APART
    assert found == {*kustomization["resources"], *generated}
    told = (KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8")
    assert all(name in told for name in APART - {"kustomization.yaml"})
    assert {path.name for path in files() if path.parent == KUBERNETES} < found | APART


def test_every_pod_is_scraped() -> None:
    """By the labels and the port that the base manifests give them; and nobody keeps Prometheus out."""
    monitor = document(KUBERNETES / "pod-monitor.yaml")["spec"]
    network = document(KUBERNETES / "network-policy.yaml")["spec"]
    [endpoint] = monitor["podMetricsEndpoints"]
    open_ports = {port["port"] for rule in network["ingress"] for port in rule["ports"]}
    for pod in pods():
        labels = pod["metadata"]["labels"].items()
        assert monitor["selector"]["matchLabels"].items() <= labels
        assert network["podSelector"]["matchLabels"].items() <= labels
        ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        assert ports[endpoint["port"]] in open_ports


def test_the_token_is_that_of_the_pods() -> None:
    """The Secret whose key they take SPECROUTE_METRICS_TOKEN from opens /metrics."""
    credentials = document(KUBERNETES / "scrape-config.yaml")["spec"]["authorization"]["credentials"]
    given = [
        variable["valueFrom"]["secretKeyRef"]
        for pod in pods()
        for variable in pod["spec"]["containers"][0].get("env", ())
        if variable["name"] == "SPECROUTE_METRICS_TOKEN"
    ]
    assert given
    for secret in given:
        assert credentials == {"name": secret["name"], "key": secret["key"]}

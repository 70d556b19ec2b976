"""The chat backend's manifests render, and fit Kubernetes, the program, and specroute's own manifests."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from chat_backend.settings import Settings
from rendering import K8S, ROOT, kustomized

pytestmark = pytest.mark.integration

KUBERNETES = "1.32"
LABELS = {"app.kubernetes.io/name": "chat-backend", "specroute.io/client": "true"}


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    try:
        return kustomized(ROOT / "examples" / "chat-backend" / "k8s")
    except FileNotFoundError as absent:
        pytest.skip(str(absent))


def only(rendered: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (document for document in rendered if document["kind"] == kind)
    return found


def test_they_are_what_kubernetes_accepts(rendered: list[dict[str, Any]]) -> None:
    """Strictly: unknown keys are refused."""
    for document in rendered:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        assert document["metadata"]["namespace"] == "chat"


def test_the_pod_asks_for_no_more_than_it_needs(rendered: list[dict[str, Any]]) -> None:
    """The restricted pod security standard, a read-only root, memory stated, no token of the API."""
    spec = only(rendered, "Deployment")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
    assert {volume["name"] for volume in spec["volumes"]} == {
        mount["name"] for mount in container["volumeMounts"]
    }


def test_the_settings_are_the_programs(
    rendered: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its name; the key and the conversations lie on what is mounted; the pod ends after its answers."""
    variables = only(rendered, "ConfigMap")["data"]
    for name, value in variables.items():
        assert name.removeprefix("CHAT_").lower() in Settings.model_fields
        monkeypatch.setenv(name, value)
    settings = Settings()
    spec = only(rendered, "Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["envFrom"][0]["configMapRef"]["name"] == only(rendered, "ConfigMap")["metadata"]["name"]
    mounted = {Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    assert settings.specroute_key_file is not None
    assert {settings.specroute_key_file.parent, settings.database.parent} < mounted
    assert settings.port == container["ports"][0]["containerPort"]
    assert spec["terminationGracePeriodSeconds"] > settings.deadline_s + 5


def test_network_policies_meet(rendered: list[dict[str, Any]]) -> None:
    """It goes out where specroute's pods listen, and carries the label they let in."""
    pod = only(rendered, "Deployment")["spec"]["template"]["metadata"]["labels"]
    policy = only(rendered, "NetworkPolicy")["spec"]
    assert pod.items() >= LABELS.items()
    for selecting in (
        policy["podSelector"],
        only(rendered, "Deployment")["spec"]["selector"],
        only(rendered, "PodDisruptionBudget")["spec"]["selector"],
    ):
        assert selecting["matchLabels"].items() <= pod.items()
    _, specroute = policy["egress"]
    theirs = yaml.safe_load_all((K8S / "base" / "network-policies.yaml").read_text())
    (clients,) = (one["spec"] for one in theirs if one["metadata"]["name"] == "specroute-clients")
    assert specroute["to"][0]["podSelector"] == clients["podSelector"]
    assert specroute["ports"] == clients["ingress"][0]["ports"]
    assert clients["ingress"][0]["from"][0]["podSelector"]["matchLabels"].items() <= pod.items()

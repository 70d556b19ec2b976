"""What kustomize makes of k8s/ and the example: for the tests of the manifests, and for linters, which want files.

`python rendering.py FOLDER` writes a file per kustomization into FOLDER. The pods of a RayService, which linters of
Kubernetes do not know, stand beside it there as pods of their own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
EXAMPLE = ROOT / "examples" / "chat-backend" / "k8s"
NAMESPACE = "specroute"

Document = dict[str, Any]


def kustomized(folder: Path) -> list[Document]:
    """The documents that `kubectl kustomize` prints. Raises FileNotFoundError where kubectl is not installed."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise FileNotFoundError("kubectl is not installed")
    printed = subprocess.run(
        [kubectl, "kustomize", str(folder)], check=True, capture_output=True, timeout=120
    )
    return list(yaml.safe_load_all(printed.stdout))


def ray_service(documents: list[Document]) -> Document:
    """The one RayService among them."""
    (service,) = (document for document in documents if document["kind"] == "RayService")
    return service


def pod_templates(service: Document) -> list[Document]:
    """Its pods: the head's first, then those of each worker group."""
    cluster = service["spec"]["rayClusterConfig"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def job_templates(documents: list[Document]) -> list[Document]:
    """The pods of the CronJobs among them."""
    return [
        document["spec"]["jobTemplate"]["spec"]["template"]
        for document in documents
        if document["kind"] == "CronJob"
    ]


def pods(service: Document) -> Iterator[Document]:
    """The same as Kubernetes' own kind, named by their part."""
    for template in pod_templates(service):
        metadata = template["metadata"] | {
            "name": template["metadata"]["labels"]["specroute.io/part"],
            "namespace": NAMESPACE,
        }
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def write(folder: Path) -> None:
    """A file per kustomization that is applied by itself."""
    for source in (*(K8S / "overlays" / name for name in OVERLAYS), K8S / "monitoring", EXAMPLE):
        documents = kustomized(source)
        for service in [document for document in documents if document["kind"] == "RayService"]:
            documents += pods(service)
        for document in documents:  # what the -n of `kubectl apply` gives those without one
            document["metadata"].setdefault("namespace", NAMESPACE)
        (folder / f"{source.parent.name}-{source.name}.yaml").write_text(
            yaml.safe_dump_all(documents), encoding="utf-8"
        )


if __name__ == "__main__":
    write(Path(sys.argv[1]))

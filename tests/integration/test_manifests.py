"""Every overlay renders, and what it renders is what Kubernetes, KubeRay, Ray Serve and specroute accept."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema
from rendering import K8S, OVERLAYS, ROOT, job_templates, kustomized, pod_templates, ray_service
from typer.main import get_command

from policies.loading import parse_policy
from router.cli_refresh import refresh
from router.settings import EMBEDDED_STORE, parse_settings

pytestmark = pytest.mark.integration

CRD = ROOT.parent / "shared" / "data" / "rayservice-crd-v1.7.0.yaml.gz"
KUBERNETES = "1.32"
OF_OPERATORS = {"RayService", "PodMonitor", "PrometheusRule"}
PROMETHEUS_CRDS = ROOT / "tests" / "crds"


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[dict[str, Any]]]:
    """What `kubectl kustomize` prints for each overlay."""
    try:
        return {overlay: kustomized(K8S / "overlays" / overlay) for overlay in OVERLAYS}
    except FileNotFoundError as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def monitoring() -> list[dict[str, Any]]:
    """What stands beside an overlay: the rendered folder, and the way that it leaves out."""
    try:
        rendered = kustomized(K8S / "monitoring")
    except FileNotFoundError as absent:
        pytest.skip(str(absent))
    return [*rendered, yaml.safe_load((K8S / "monitoring" / "scrape-config.yaml").read_text("utf-8"))]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_core_kinds_are_what_kubernetes_accepts(
    overlay: str, rendered: dict[str, list[dict[str, Any]]]
) -> None:
    """Strictly: a key that the API does not know is refused, and so is a thing named twice."""
    named = []
    for document in rendered[overlay]:
        named.append((document["kind"], document["metadata"]["name"]))
        if document["kind"] not in OF_OPERATORS:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    assert len(set(named)) == len(named)


@pytest.mark.skipif(not CRD.exists(), reason="no CRD of the RayService beside the project")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_ray_service_is_what_kuberay_accepts(
    overlay: str, rendered: dict[str, list[dict[str, Any]]]
) -> None:
    """Against KubeRay's own schema of the kind, unknown keys refused at every depth."""
    schema = strict(crd_schema())
    problems = [
        f"{'.'.join(map(str, error.path))}: {error.message[:200]}"
        for error in jsonschema.Draft202012Validator(schema).iter_errors(ray_service(rendered[overlay]))
    ]
    assert problems == []
    broken = ray_service(rendered[overlay]) | {"spec": {"serveConfigV3": ""}}
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(broken))


@pytest.mark.parametrize("kind", ["PodMonitor", "PrometheusRule", "ScrapeConfig"])
def test_the_monitoring_is_what_the_prometheus_operator_accepts(
    kind: str, monitoring: list[dict[str, Any]]
) -> None:
    """Against the operator's own schemas, unknown keys refused at every depth."""
    known = json.loads((PROMETHEUS_CRDS / f"{kind}.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(strict(known["schema"]))
    (document,) = (document for document in monitoring if document["kind"] == kind)
    assert document["apiVersion"] == known["apiVersion"]
    assert [error.message[:200] for error in validator.iter_errors(document)] == []
    assert list(validator.iter_errors(document | {"spec": document["spec"] | {"podMetricsEndpoint": []}}))


def test_the_rest_of_the_monitoring_is_what_kubernetes_accepts(monitoring: list[dict[str, Any]]) -> None:
    """Strictly, as the overlays."""
    others = [one for one in monitoring if not one["apiVersion"].startswith("monitoring.coreos.com/")]
    assert {one["kind"] for one in others} == {"ConfigMap", "NetworkPolicy"}
    for document in others:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_serve_config_is_what_serve_and_specroute_accept(
    overlay: str, rendered: dict[str, list[dict[str, Any]]]
) -> None:
    """Serve ignores keys it does not know, so they are compared by name; the application's args are ours."""
    config = yaml.safe_load(ray_service(rendered[overlay])["spec"]["serveConfigV2"])
    ServeDeploySchema.model_validate(config)
    assert set(config) <= set(ServeDeploySchema.model_fields)
    (application,) = config["applications"]
    assert set(application) <= set(ServeApplicationSchema.model_fields)
    for deployment in application.get("deployments", []):
        assert set(deployment) <= set(DeploymentSchema.model_fields)
    settings = parse_settings(application["args"])
    if settings.routers > 1:
        assert settings.store.url != EMBEDDED_STORE


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_ask_for_no_more_than_they_need(overlay: str, rendered: dict[str, list[dict[str, Any]]]) -> None:
    """The restricted pod security standard, a read-only root, resources stated, no token of the API."""
    for template in (*pod_templates(ray_service(rendered[overlay])), *job_templates(rendered[overlay])):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            resources = container["resources"]
            assert resources["requests"]["memory"] == resources["limits"]["memory"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_mounted_is_there(overlay: str, rendered: dict[str, list[dict[str, Any]]]) -> None:
    """Every mount names a volume of its pod, and every file that the settings name lies on one."""
    service = ray_service(rendered[overlay])
    args = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"][0]["args"]
    *_, worker = pod_templates(service)
    for template in (*pod_templates(service), *job_templates(rendered[overlay])):
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        mounts = {mount["name"] for mount in template["spec"]["containers"][0]["volumeMounts"]}
        assert mounts == volumes
    mounted = [mount["mountPath"] for mount in worker["spec"]["containers"][0]["volumeMounts"]]
    for path in paths(args):
        assert any(path.startswith(f"{folder}/") for folder in mounted), path


def test_a_refresh_reads_what_routers_write_and_writes_what_engines_read(
    rendered: dict[str, list[dict[str, Any]]],
) -> None:
    """The job's options are ones the command has, and name the folders of the settings, on the same claims."""
    documents = rendered["cpu-refresh"]
    service = ray_service(documents)
    settings = parse_settings(yaml.safe_load(service["spec"]["serveConfigV2"])["applications"][0]["args"])
    (profile,) = (profile for profile in settings.profiles if profile.draft_model is not None)
    (job,) = job_templates(documents)
    (container,) = job["spec"]["containers"]
    command = typer.Typer()
    command.command()(refresh)
    given = get_command(command).make_context("refresh", list(container["args"])).params
    assert (str(given["drafter"]), given["profile"]) == (profile.draft_model, profile.name)
    assert str(given["captured"]) == settings.capture.folder
    assert given["url"] == f"http://{service['spec']['serveService']['metadata']['name']}"
    assert job["metadata"]["labels"]["specroute.io/client"] == "true"
    worker = pod_templates(service)[-1]
    assert claims(job) == {
        "/captured": ("specroute-captured", True),
        "/drafters": ("specroute-drafters", False),
    }
    assert claims(worker) == {
        "/captured": ("specroute-captured", False),
        "/drafters": ("specroute-drafters", True),
    }


def test_every_gpu_engine_has_a_pod_with_its_gpus(rendered: dict[str, list[dict[str, Any]]]) -> None:
    """A worker pod for each engine there must be, each with as many GPUs as one of them needs: none is shared."""
    for overlay in ("two-gpus", "production"):
        service = ray_service(rendered[overlay])
        settings = parse_settings(yaml.safe_load(service["spec"]["serveConfigV2"])["applications"][0]["args"])
        (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        fewest = sum(profile.fewest_replicas for profile in settings.profiles)
        most = sum(profile.most_replicas for profile in settings.profiles)
        assert fewest <= group["replicas"] <= most
        assert {int(limits["nvidia.com/gpu"])} == {profile.gpus for profile in settings.profiles}


def test_the_cpu_demo_is_what_specroute_serve_runs() -> None:
    """Literally: one machine and a cluster get the same text."""
    demo = (K8S / "overlays" / "cpu-demo" / "serve.yaml").read_text("utf-8")
    assert demo == (ROOT / "router" / "embedded.yaml").read_text("utf-8")


def test_the_policy_of_a_cluster_is_the_default_preset() -> None:
    """A copy, because kustomize reads no file outside its folder; it loads."""
    text = (K8S / "base" / "policy.yaml").read_text("utf-8")
    assert text == (ROOT / "policies" / "presets" / "default.yaml").read_text("utf-8")
    assert parse_policy(text, "policy.yaml").metadata.name == "default"


def claims(template: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Where a pod mounts which claims, and whether only to read them."""
    spec = template["spec"]
    named = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    return {
        mount["mountPath"]: (named[mount["name"]], mount.get("readOnly", False))
        for mount in spec["containers"][0]["volumeMounts"]
        if mount["name"] in named
    }


def crd_schema() -> dict[str, Any]:
    crd = yaml.safe_load(gzip.decompress(CRD.read_bytes()))
    (version,) = (version for version in crd["spec"]["versions"] if version["name"] == "v1")
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with unknown keys refused, as the API server does under strict field validation.

    `metadata` is any object there; Kubernetes' own numbers-or-text stand as an extension.
    """
    copy = {key: strict_part(key, value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        copy.pop("type", None)
    closed = schema.get("type") == "object" and schema.get("properties")
    if closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        copy.setdefault("additionalProperties", False)
    return copy


def strict_part(key: str, value: Any) -> Any:
    if key == "properties":
        return {name: strict(part) for name, part in value.items()}
    if key in {"items", "additionalProperties"} and isinstance(value, dict):
        return strict(value)
    return value


def paths(args: Any) -> Iterator[str]:
    """The files of a cluster that the settings name."""
    if isinstance(args, dict):
        for value in args.values():
            yield from paths(value)
    elif isinstance(args, list):
        for value in args:
            yield from paths(value)
    elif isinstance(args, str) and args.startswith("/") and args != "/":
        yield args

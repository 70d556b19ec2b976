"""What images, compose file and linters' settings say agrees with the repository and with each other."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.serving.config import load_config
from router.serving.environment import _ray_core, _serve_transport, new_run

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "k8s" / "images"
DOCKERFILES = sorted(IMAGES.glob("*.Dockerfile"))
IGNORE = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
OF_ONE_MACHINE = re.compile(
    "TOKEN|AUTH_MODE|OSX_CLUSTER|PORT$|_PATH$|FILE|STATE_BASE|NBTHREAD|_S$|SPECROUTE_HAPROXY"
)
"""What `specroute serve` sets because it shares a machine with others: free ports, private folders, short waits."""


def copied(dockerfile: Path) -> list[str]:
    """What is copied from the repository."""
    lines = [line.split() for line in dockerfile.read_text("utf-8").splitlines()]
    return [
        source
        for words in lines
        if words[:1] == ["COPY"] and not words[1].startswith("--")
        for source in words[1:-1]
    ]


def environment(dockerfile: Path) -> dict[str, str]:
    """The variables of the image."""
    text = dockerfile.read_text("utf-8").replace("\\\n", " ")
    lines = [line.removeprefix("ENV ") for line in text.splitlines() if line.startswith("ENV PATH")]
    return {name: value.strip('"') for name, value in re.findall(r'(\w+)=("[^"]*"|\S+)', " ".join(lines))}


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((IMAGES / "compose.yaml").read_text("utf-8"))
    return found


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_what_is_copied_is_there_and_is_the_whole_package(dockerfile: Path) -> None:
    """Docker is handed it, and the wheel that is built from it misses no package."""
    sources = copied(dockerfile)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(Path(source).match(line[1:]) for line in IGNORE), f"{source}: .dockerignore keeps it out"
    packages = re.search(r"^packages = \[(.*)\]$", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert packages is not None
    assert {name.strip(' "') for name in packages[1].split(",")} <= set(sources)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_has_the_transport_that_is_tested(dockerfile: Path) -> None:
    """What `specroute serve` sets for every Ray, an image sets too, and to the same."""
    run = new_run()
    try:
        serves = _ray_core() | _serve_transport(run)
    finally:
        run.remove()
    of_all = {name: value for name, value in serves.items() if not OF_ONE_MACHINE.search(name)}
    ours = environment(dockerfile)
    assert {name: ours.get(name) for name in of_all} == of_all


def test_the_compose_file_serves_what_the_two_gpu_overlay_does() -> None:
    """Its files are there, its GPUs are as many as the engines', its store has the name that the settings ask for."""
    services = compose()["services"]
    service = services["specroute"]
    assert (IMAGES / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    mounted = {volume["target"]: volume for volume in service["volumes"]}
    files = {target: IMAGES / one["source"] for target, one in mounted.items() if one["type"] == "bind"}
    assert all(file.is_file() for file in files.values())
    settings = load_config(files["/etc/specroute/serve.yaml"]).settings
    (devices,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert devices["count"] == sum(profile.replicas * profile.gpus for profile in settings.profiles)
    assert settings.model.path.startswith("/models/")
    assert "/models" in mounted
    host = settings.store.url.removeprefix("redis://").partition(":")[0]
    assert service["depends_on"][host] == {"condition": "service_healthy"}
    assert settings.policy.path in files


def test_every_check_that_is_left_out_says_why() -> None:
    """A comment stands before it, alone or before a few that share a reason."""
    lines = (ROOT / "k8s" / "checkov.yaml").read_text("utf-8").splitlines()
    skipped = lines[lines.index("skip-check:") + 1 :]
    assert skipped[0].strip().startswith("#")
    for line in skipped:
        assert re.fullmatch(r"  (# .+|- CKV_\w+)", line), line
    for dockerfile in DOCKERFILES:
        before, found, _ = dockerfile.read_text("utf-8").partition("# hadolint ignore=")
        assert found
        assert before.splitlines()[-1].startswith("# ")

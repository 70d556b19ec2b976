"""What is noticed before anything starts: one line a problem, each with what to do."""

import errno
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import policy_text

from policies.cost import calibration
from router import capture_files
from router.guards import is_loopback
from router.keys import file_line
from router.serving import preflight
from router.serving.config import ServeConfig
from router.serving.preflight import problems
from router.settings import parse_settings
from tests.unit.replicas.stored import write_safetensors

pytestmark = pytest.mark.unit

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine with two cores and plenty of memory, whatever this one has."""
    memory = SimpleNamespace(available=64 * GIB)
    monkeypatch.setattr(preflight.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(preflight, "available_cores", lambda: (0, 1))
    return memory


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield int(server.getsockname()[1])


def found(port: int, host: str = "127.0.0.1", **settings: Any) -> list[str]:
    return problems(ServeConfig(parse_settings(settings), host, port, built_in=False))


def test_nothing_is_wrong_with_the_embedded_set_up(port: int) -> None:
    """No lines."""
    assert found(port) == []


@pytest.mark.parametrize(
    "setting", ["nowhere.at_all:Mine", "json:NoSuchClass", "json:JSONDecoder", "no colon"]
)
def test_a_classifier_that_is_none(port: int, setting: str) -> None:
    """An import path that leads to no classifier is told before engines are started, in one line."""
    (line,) = found(port, classifier=setting)
    assert line.startswith("classifier: ")
    assert "\n" not in line


def test_a_capture_folder_that_cannot_be_written(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor made: a file stands in its way, or it lies on a volume that is mounted to be read."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "captured"):
        (line,) = found(port, capture={"folder": str(folder), "tenants": ["*"]})
        assert line == (
            f"capture.folder: {folder}: cannot be written (Not a directory): "
            "make it writable for the service's user, or name another folder"
        )

    def read_only(**_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(capture_files, "TemporaryFile", read_only)
    (line,) = found(port, capture={"folder": str(tmp_path), "tenants": ["*"]})
    assert "cannot be written (Read-only file system)" in line


def test_a_capture_folder_that_is_made_later(port: int, tmp_path: Path) -> None:
    """Checking leaves nothing behind."""
    assert found(port, capture={"folder": str(tmp_path / "new" / "captured"), "tenants": ["*"]}) == []
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use(taken: int) -> None:
    """The line has the address and both ways out."""
    (line,) = found(taken)
    assert line.startswith(f"127.0.0.1:{taken}: ")
    assert "in use" in line
    assert "--port" in line


@pytest.mark.parametrize("host", ["203.0.113.7", "a" * 70 + ".example"])
def test_a_host_that_is_not_ours(host: str, port: int) -> None:
    """An address of another machine, or a name that has none, is told in one line."""
    (line,) = found(port, host)
    assert line.startswith(f"{host}:{port}: ")


def test_an_admin_api_open_to_others(port: int) -> None:
    """Without a token it may be open on loopback only; the line says what to set."""
    (line,) = found(port, "0.0.0.0", http={"open_admin": True})
    assert line.startswith("http.open_admin: ")
    assert "SPECROUTE_ADMIN_TOKEN" in line
    assert found(port, "0.0.0.0") == found(port, http={"open_admin": True}) == []


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    """Only addresses of this machine alone leave the admin API open; unknown names are not."""
    assert is_loopback(host) is loopback


def test_policies(port: int, tmp_path: Path) -> None:
    """A missing file, a broken one with all its problems, and a good one."""
    missing, broken, good = (tmp_path / name for name in ("missing", "broken", "good"))
    broken.write_text(policy_text(mode="x", k={"min": 0}))
    good.write_text(policy_text())
    (line,) = found(port, policy={"path": str(missing)})
    assert line == f"policy.path: {missing}: No such file or directory"
    lines = found(port, policy={"path": str(broken)})
    assert len(lines) >= 2
    assert all(line.startswith(str(broken)) for line in lines)
    assert found(port, policy={"path": str(good)}) == []
    (line,) = found(port, policy={"path": str(tmp_path)})
    assert "directory" in line


def test_keys_files(port: int, tmp_path: Path) -> None:
    """A missing file, a broken one without a word of its content, and a good one."""
    missing, broken, good = (tmp_path / name for name in ("missing", "broken", "good"))
    broken.write_text("sk-hunter2: acme\nsk-hunter3: acme\n")
    good.write_text(file_line("sk-one", "acme"))
    (line,) = found(port, tenancy={"keys_file": str(missing)})
    assert line == f"tenancy.keys_file: {missing}: No such file or directory"
    lines = found(port, tenancy={"keys_file": str(broken)})
    assert len(lines) == 2
    assert all(line.startswith(str(broken)) and "hunter" not in line for line in lines)
    assert found(port, tenancy={"keys_file": str(good)}) == []


def test_calibrations(port: int, tmp_path: Path) -> None:
    """A missing file and a broken one, in a line each; a good one is no problem."""
    missing, broken, good = (tmp_path / name for name in ("missing", "broken", "good"))
    broken.write_text("{}")
    good.write_text(json.dumps(calibration({}, model="m", machine="x")))
    (line,) = found(port, calibration=str(missing))
    assert line == f"calibration: cannot read {missing}: No such file or directory"
    (line,) = found(port, calibration=str(broken))
    assert line.startswith(f"{broken}: format: ")
    assert found(port, calibration=str(good)) == []


def test_models(port: int, tmp_path: Path) -> None:
    """A folder without a model is named, for the target and for drafters; fake engines need none."""
    drafter = {"name": "draft", "method": "draft_model", "k": 3, "draft_model": str(tmp_path / "d")}
    model = {"path": str(tmp_path)}
    lines = found(port, model=model, profiles=[drafter])
    assert [line.partition(":")[0] for line in lines] == ["model.path", "profiles.draft.draft_model"]
    assert all("config.json" in line for line in lines)
    (tmp_path / "config.json").write_text("{}")
    write_safetensors(tmp_path / "model.safetensors", {"embedding": (2, 3)})
    assert found(port, model=model) == []
    assert found(port, model={"path": "/nowhere"}, fake_engines={}) == []
    (line,) = found(port, model={"path": str(tmp_path / ("x" * 300))})
    assert line.startswith("model.path: ")


@pytest.mark.parametrize(("config", "cut"), [("{", 0), ("{}", 8), ("{}", None)])
def test_models_that_are_not_whole(port: int, tmp_path: Path, config: str, cut: int | None) -> None:
    """Unreadable, cut off, or without weights: one line, unless weights come from elsewhere."""
    (tmp_path / "config.json").write_text(config)
    if cut is not None:
        write_safetensors(tmp_path / "model.safetensors", {"embedding": (2, 3)}, cut=cut)
    model = {"path": str(tmp_path)}
    (line,) = found(port, model=model)
    assert line.startswith(f"model.path: {tmp_path}")
    assert "download" in line
    profiles = [{"name": "v", "engine_args": {"load_format": "dummy"}}]
    assert bool(found(port, model=model, profiles=profiles)) is (config == "{")


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://x", "redis//x", "redis://h:port", "redis://:pass@word@h/x?db=y", ""]
)
def test_store_urls(url: str, port: int) -> None:
    """A URL that cannot be used is one line that keeps its password."""
    (line,) = found(port, store={"url": url})
    assert line.startswith("store.url: ")
    assert "word" not in line.replace("password", "")


def test_an_unreachable_store_is_no_problem(port: int) -> None:
    """The service works without its store, so nothing is asked of it here."""
    assert found(port, store={"url": "redis://127.0.0.1:1"}) == []


def test_several_routers_need_a_store_they_share(port: int) -> None:
    """Not the embedded one."""
    (line,) = found(port, routers=2)
    assert "redis://" in line


def test_cores_this_machine_does_not_have(port: int) -> None:
    """The line names the profile, the core, and what there is."""
    (line,) = found(port, profiles=[{"name": "vanilla", "cpu_cores": [7]}])
    assert line.startswith("profiles.vanilla.cpu_cores: core 7")
    assert "0, 1" in line


def test_memory(port: int, machine: SimpleNamespace) -> None:
    """Too little for the engines is told with the figures; GPUs and fake engines need none of it."""
    machine.available = 5 * GIB
    (line,) = found(port)
    assert "6.5 GiB" in line
    assert "5.0 GiB" in line
    assert found(port, fake_engines={}) == []
    assert found(port, profiles=[{"name": "vanilla", "device": "cuda"}]) == []
    assert found(port, profiles=[{"name": "vanilla"}]) == []


def test_keys_that_vllm_does_not_know(port: int) -> None:
    """Where engines are real; stand-ins pass nothing on."""
    profiles = [{"name": "v", "engine_args": {"gpu_memory_utilisation": 0.8}}]
    (line,) = found(port, profiles=profiles)
    assert line.startswith("profiles.v.engine_args.gpu_memory_utilisation: vLLM has no such setting")
    assert found(port, profiles=profiles, fake_engines={}) == []


def test_all_problems_are_told_at_once(taken: int) -> None:
    """Nobody mends one to be told the next."""
    lines = found(taken, policy={"path": "/none"}, model={"path": "/none"}, store={"url": "x"})
    assert len(lines) == 4

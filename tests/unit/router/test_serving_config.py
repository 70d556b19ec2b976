"""The file --config names: what it may hold, and one line for everything it may not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from router.serving.config import load_config
from router.settings import SettingsError

pytestmark = pytest.mark.unit


def document(**changes: Any) -> dict[str, Any]:
    return {
        "http_options": {"host": "127.0.0.1", "port": 9000},
        "applications": [{"name": "specroute", "import_path": "router.app:build", "args": {}}],
    } | changes


def application(**changes: Any) -> dict[str, Any]:
    return document(applications=[{"import_path": "router.app:build", "args": {}} | changes])


def written(folder: Path, content: object) -> Path:
    path = folder / "serve.yaml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(yaml.safe_dump(content))
    return path


def test_the_built_in_one() -> None:
    """Loopback, port 8000, a plain and a speculative pool; tenants may name themselves."""
    config = load_config(None)
    assert (config.host, config.port, config.built_in) == ("127.0.0.1", 8000, True)
    assert [profile.name for profile in config.settings.profiles] == ["vanilla", "ngram"]
    assert config.settings.tenancy.trusted_header


def test_a_file(tmp_path: Path) -> None:
    """Host, port and settings are the file's; without http_options it is loopback."""
    config = load_config(written(tmp_path, application(args={"routers": 2})))
    assert (config.port, config.settings.routers, config.built_in) == (9000, 2, False)
    assert not config.settings.tenancy.trusted_header
    bare = document()
    del bare["http_options"]
    assert load_config(written(tmp_path, bare)).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "applications"),
        (b"[]", "a mapping with `applications`"),
        (b"\xff\xfe", "serve.yaml"),
        (b"a: [", "not valid YAML"),
        (b"a: 2020-99-99", "not valid YAML"),
        (b"[" * 5000, "not valid YAML"),
        (document(applications=[]), "a list with one application"),
        (document(applications=[{}, {}]), "a list with one application"),
        (document(applications=["x"]), "a list with one application"),
        (document(aplications=[]), "did you mean 'applications'?"),
        (application(import_path="other:app"), "expected router.app:build"),
        (application(argz={}), "did you mean 'args'?"),
        (application(deployments=[]), "'deployments' is not used here"),
        (application(args=[1]), "args: expected a mapping"),
        (document(http_options=[1]), "http_options: expected a mapping"),
        (document(http_options={"hots": "x"}), "did you mean 'host'?"),
        (document(http_options={"root_path": "/x"}), "'root_path' is not used here"),
        (document(http_options={"host": 5}), "http_options.host"),
        (document(http_options={"host": ""}), "http_options.host"),
        (document(http_options={"port": "x"}), "http_options.port"),
        (document(http_options={"port": True}), "http_options.port"),
        (document(http_options={"port": 0}), "from 1 to 65535"),
        (document(http_options={"port": 65536}), "from 1 to 65535"),
        (document(http_options={"port": -1}), "from 1 to 65535"),
        (application(args={"stor": {}}), "applications[0].args.stor: unknown key; did you mean 'store'?"),
    ],
)
def test_mistakes_are_one_line(content: object, said: str, tmp_path: Path) -> None:
    """The line names the file and what to change in it."""
    path = written(tmp_path, content)
    with pytest.raises(SettingsError) as caught:
        load_config(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(str(path))
    assert said in line


def test_every_mistake_in_the_settings_has_its_line(tmp_path: Path) -> None:
    """All of them at once."""
    path = written(tmp_path, application(args={"stor": {}, "routers": 0}))
    with pytest.raises(SettingsError) as caught:
        load_config(path)
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The system's own error."""
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "none.yaml")

"""The file `--config` names: a Ray Serve config whose one application is specroute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from policies.problems import choices_hint
from router.settings import DeploymentSettings, SettingsError, parse_settings

IMPORT_PATH = "router.app:build"

_KEYS = ("applications", "http_options")
_APPLICATION_KEYS = ("name", "route_prefix", "import_path", "args")
_HTTP_KEYS = ("host", "port")
_PORTS = range(1, 65536)


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """What is served, and where."""

    settings: DeploymentSettings
    host: str
    port: int
    built_in: bool


def load_config(path: Path | None) -> ServeConfig:
    """The configuration in `path`, or the built-in one.

    Raises SettingsError with a line per problem, or OSError when the file cannot be read.
    """
    if path is None:
        text, source = files("router").joinpath("embedded.yaml").read_text(encoding="utf-8"), "embedded.yaml"
    else:
        text, source = path.read_text(encoding="utf-8", errors="replace"), str(path)
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        raise SettingsError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    args = _application_args(document, source)
    http = document.get("http_options") or {}
    if not isinstance(http, dict):
        raise SettingsError(f"{source}: http_options: expected a mapping with host and port")
    _refuse_others(http, _HTTP_KEYS, f"{source}: http_options")
    host, port = http.get("host", "127.0.0.1"), http.get("port", 8000)
    if not isinstance(host, str) or not host or "\0" in host:
        raise SettingsError(f"{source}: http_options.host: expected an address or a name, as text")
    if isinstance(port, bool) or not isinstance(port, int) or port not in _PORTS:
        raise SettingsError(f"{source}: http_options.port: expected a whole number from 1 to {_PORTS[-1]}")
    try:
        settings = parse_settings(args)
    except SettingsError as error:
        lines = [f"{source}: applications[0].args.{line}" for line in str(error).splitlines()]
        raise SettingsError("\n".join(lines)) from None
    return ServeConfig(settings, host, port, built_in=path is None)


def _application_args(document: object, source: str) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise SettingsError(f"{source}: expected a Ray Serve config: a mapping with `applications`")
    _refuse_others(document, _KEYS, source)
    applications = document.get("applications")
    if not isinstance(applications, list) or len(applications) != 1 or not isinstance(applications[0], dict):
        raise SettingsError(f"{source}: applications: expected a list with one application")
    application = applications[0]
    if application.get("import_path") != IMPORT_PATH:
        raise SettingsError(f"{source}: applications[0].import_path: expected {IMPORT_PATH}")
    _refuse_others(application, _APPLICATION_KEYS, f"{source}: applications[0]")
    args = application.get("args") or {}
    if not isinstance(args, dict):
        raise SettingsError(f"{source}: applications[0].args: expected a mapping")
    return args


def _refuse_others(given: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    """Ray Serve knows more keys than these; here they would have no effect."""
    for key in given:
        if key not in known:
            raise SettingsError(f"{where}: {key!r} is not used here; {choices_hint(str(key), known)}")

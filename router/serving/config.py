"""The file `--config` names: a Ray Serve config whose one application is specroute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from router.settings import DeploymentSettings, SettingsError, parse_settings

IMPORT_PATH = "router.app:build"

_HTTP_KEYS = {"host", "port"}


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
    except yaml.YAMLError as error:
        raise SettingsError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    args = _application_args(document, source)
    http = document.get("http_options") or {}
    if not isinstance(http, dict) or (unknown := sorted(http.keys() - _HTTP_KEYS)):
        given = unknown[0] if isinstance(http, dict) else "http_options"
        raise SettingsError(f"{source}: http_options: {given!r} is not used here; known: host, port")
    host, port = http.get("host", "127.0.0.1"), http.get("port", 8000)
    if not isinstance(host, str) or isinstance(port, bool) or not isinstance(port, int):
        raise SettingsError(f"{source}: http_options: host is text and port a whole number")
    try:
        settings = parse_settings(args)
    except SettingsError as error:
        lines = [f"{source}: applications[0].args.{line}" for line in str(error).splitlines()]
        raise SettingsError("\n".join(lines)) from None
    return ServeConfig(settings, host, port, built_in=path is None)


def _application_args(document: object, source: str) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise SettingsError(f"{source}: expected a Ray Serve config: a mapping with `applications`")
    applications = document.get("applications")
    if not isinstance(applications, list) or len(applications) != 1 or not isinstance(applications[0], dict):
        raise SettingsError(f"{source}: applications: expected a list with one application")
    application = applications[0]
    if application.get("import_path") != IMPORT_PATH:
        raise SettingsError(f"{source}: applications[0].import_path: expected {IMPORT_PATH}")
    args = application.get("args") or {}
    if not isinstance(args, dict):
        raise SettingsError(f"{source}: applications[0].args: expected a mapping")
    return args

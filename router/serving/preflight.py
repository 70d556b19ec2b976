"""What can be known to fail before anything is started: each problem one line that names the fix."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from policies.cost import CalibrationError
from policies.loading import PolicyError
from policies.planning.memory import CPU_RUNTIME_BYTES
from replicas import logs
from replicas.drafter_check import drafter_problems
from replicas.hardware import assign_cores, available_cores
from replicas.model_files import CONFIG, ModelFilesError, check_weights, read_object
from replicas.placement import placement_problems
from replicas.profiles import EMBEDDED, Profile
from replicas.vllm_keys import unknown_keys
from router.capture_files import folder_problem
from router.costs import read_calibration
from router.guards import is_loopback
from router.key_file import KeyFile
from router.keys import KeysError
from router.policy_source import PolicySource
from router.serving.config import ServeConfig
from router.settings import (
    ADMIN_TOKEN_VARIABLE,
    DATA_VARIABLE,
    EMBEDDED_STORE,
    DeploymentSettings,
    store_dir,
    store_url,
)
from router.stats_protocol import StoreUrlError
from router.store import RedisStore
from router.tasks.custom import ClassifierSettingError, load_classifier
from router.valkey import EmbeddedValkey, EmbeddedValkeyError

_GIB = 2**30
_EMBEDDED_WEIGHTS_GIB = 0.52
_FILE_FORMATS: Final = frozenset({"auto", "hf", "safetensors", "fastsafetensors"})
"""vLLM's load formats that read whole weights from a folder; others fetch, stream or invent them."""


def problems(config: ServeConfig, gpus: Sequence[int] | None = None) -> list[str]:
    """Everything that is known to be wrong with serving `config` on this machine.

    `gpus` are those of each node that its engines will run on; None: nobody knows.
    """
    return [
        *logs.problems(os.environ),
        *_policy(config.settings),
        *_keys(config.settings),
        *_calibration(config.settings),
        *_classifier(config.settings),
        *_capture(config.settings),
        *_port(config.host, config.port),
        *_admin(config),
        *_model(config.settings),
        *_drafters(config.settings),
        *_store(config.settings),
        *_cores(config.settings),
        *_memory(config.settings),
        *_gpus(config.settings, gpus),
    ]


def _policy(settings: DeploymentSettings) -> Iterator[str]:
    path = settings.policy.path
    try:
        PolicySource(Path(path) if path else None)
    except PolicyError as error:
        yield from str(error).splitlines()
    except OSError as error:
        yield f"policy.path: {path}: {error.strerror or error}"


def _keys(settings: DeploymentSettings) -> Iterator[str]:
    path = settings.tenancy.keys_file
    if path is None:
        return
    try:
        KeyFile(Path(path))
    except KeysError as error:
        yield from str(error).splitlines()
    except OSError as error:
        yield f"tenancy.keys_file: {path}: {error.strerror or error}"


def _calibration(settings: DeploymentSettings) -> Iterator[str]:
    if settings.calibration is None:
        return
    try:
        read_calibration(Path(settings.calibration))
    except CalibrationError as error:
        yield str(error)


def _classifier(settings: DeploymentSettings) -> Iterator[str]:
    if settings.classifier is None:
        return
    try:
        load_classifier(settings.classifier)
    except ClassifierSettingError as error:
        yield " ".join(str(error).split())


def _capture(settings: DeploymentSettings) -> Iterator[str]:
    folder = settings.capture.folder
    if folder is not None and (problem := folder_problem(Path(folder))) is not None:
        yield f"capture.folder: {problem}"


def _port(host: str, port: int) -> Iterator[str]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:  # a name no resolver would take is a UnicodeError
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            yield f"{host}:{port}: {reason}: stop what listens there, or choose another with --host or --port"


def _admin(config: ServeConfig) -> Iterator[str]:
    if config.settings.http.open_admin and not is_loopback(config.host):
        yield (
            f"http.open_admin: others than this machine reach {config.host}: leave it out, "
            f"and set {ADMIN_TOKEN_VARIABLE}"
        )


def _model(settings: DeploymentSettings) -> Iterator[str]:
    if settings.fake_engines is not None:
        return
    if settings.model.path != EMBEDDED:  # which is prepared, and checked, before engines start
        formats = [profile.engine_args for profile in settings.profiles]
        yield from _files("model.path", settings.model.path, formats, reads_config=True)
    for profile in settings.profiles:
        if profile.draft_model is not None:
            field = f"profiles.{profile.name}.draft_model"
            yield from _files(field, profile.draft_model, [_draft_loading(profile)], reads_config=False)


def _files(
    field: str, folder: str, loading: Iterable[Mapping[str, Any]], *, reads_config: bool
) -> Iterator[str]:
    """What is wrong with a model's files; `loading` are the vLLM settings of those who load it."""
    try:
        found = (Path(folder) / CONFIG).is_file()
    except OSError as error:
        yield f"{field}: {folder}: {error.strerror or error}"
        return
    if not found:
        yield f"{field}: {folder} is no model folder (it has no config.json)"
        return
    try:
        if reads_config:
            read_object(Path(folder) / CONFIG)
        if any(one.get("load_format", "auto") in _FILE_FORMATS for one in loading):
            check_weights(Path(folder))
    except ModelFilesError as error:
        yield f"{field}: {error}"


def _draft_loading(profile: Profile) -> Mapping[str, Any]:
    """A drafter is loaded as the target is, unless its options say otherwise."""
    own = profile.draft_options.get("draft_load_config")
    return own if isinstance(own, Mapping) else profile.engine_args


def _drafters(settings: DeploymentSettings) -> Iterator[str]:
    if settings.fake_engines is not None:
        return
    for profile in settings.profiles:
        yield from drafter_problems(profile, settings.model.path)
    yield from unknown_keys(settings.profiles, settings.model)


def _store(settings: DeploymentSettings) -> Iterator[str]:
    if settings.store.url == EMBEDDED_STORE:
        if settings.routers > 1:
            yield "store.url: several routers need a store they share: name a redis:// URL"
        try:
            EmbeddedValkey(store_dir()).check_free()
        except EmbeddedValkeyError as error:
            yield f"store.url: {error} ({DATA_VARIABLE})"
        return
    try:
        RedisStore(store_url(settings.store), settings.model.name)
    except StoreUrlError as error:
        yield f"store.url: {error}"


def _cores(settings: DeploymentSettings) -> Iterator[str]:
    try:
        assign_cores([p for p in settings.profiles if p.device != "cuda"], available_cores())
    except ValueError as error:
        yield str(error)


def _memory(settings: DeploymentSettings) -> Iterator[str]:
    """Engines on the CPU share the machine's memory; those on GPUs are the planner's business."""
    if settings.fake_engines is not None:
        return
    try:
        weights = _weights_gib(settings.model.path)
    except OSError:
        return  # told where the model is checked
    needed = sum(
        profile.most_replicas * (CPU_RUNTIME_BYTES / _GIB + weights + profile.kv_cache_gib)
        for profile in settings.profiles
        if profile.device != "cuda"
    )
    available = psutil.virtual_memory().available / _GIB
    if needed > available:
        yield (
            f"memory: the engines need about {needed:.1f} GiB, {available:.1f} GiB is available: "
            "serve fewer profiles, or lower their kv_cache_gib"
        )


def _gpus(settings: DeploymentSettings, nodes: Sequence[int] | None) -> Iterator[str]:
    if nodes is None:
        return
    on_gpus = [
        profile
        for profile in settings.profiles
        if profile.device == "cuda" or (profile.device == "auto" and any(nodes))
    ]
    yield from placement_problems(on_gpus, nodes)


def _weights_gib(path: str) -> float:
    if path == EMBEDDED:
        return _EMBEDDED_WEIGHTS_GIB
    return sum(file.stat().st_size for file in Path(path).glob("*.safetensors")) / _GIB

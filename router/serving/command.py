"""The steps of `specroute serve`, from options to an exit code."""

from __future__ import annotations

from pathlib import Path

from replicas import model_store
from replicas.hardware import gpus_here
from replicas.profiles import EMBEDDED
from router.serving.config import ServeConfig, load_config
from router.serving.launcher import StartError, serve
from router.serving.preflight import problems
from router.serving.screen import Screen
from router.settings import SettingsError

_OK, _FAILED, _BAD_INPUT = 0, 1, 2


def run_serve(
    *,
    config: Path | None,
    policy: Path | None,
    host: str | None,
    port: int | None,
    check: bool,
    gpus: str | None = None,
) -> int:
    """Serve, or only check; returns the exit code."""
    screen = Screen()
    try:
        nodes = _gpus_of_nodes(gpus, check=check)
        chosen = _with_options(load_config(config), policy=policy, host=host, port=port)
    except SettingsError as error:
        screen.problems(str(error).splitlines())
        return _BAD_INPUT
    except OSError as error:
        screen.problems([f"{config}: {error.strerror or error}"])
        return _BAD_INPUT
    if found := problems(chosen, nodes):
        screen.problems(found)
        return _BAD_INPUT
    if check:
        screen.note("everything that can be checked without starting is in order")
        return _OK
    try:
        _prepare_model(chosen, screen)
        serve(chosen, screen)
    except (StartError, model_store.ModelStoreError) as error:
        screen.close()
        screen.problems(str(error).splitlines())
        return _FAILED
    finally:
        screen.close()
    return _OK


def _gpus_of_nodes(given: str | None, *, check: bool) -> tuple[int, ...] | None:
    """GPUs of each node: those given, else this machine's; None where a check knows of none.

    What is checked on a machine without GPUs is meant for another one.
    """
    if given is None:
        here = gpus_here()
        return (here,) if here or not check else None
    if not check:
        raise SettingsError("--gpus is for --check: engines are started on this machine's own GPUs")
    numbers = [number.strip() for number in given.split(",")]
    if not all(number.isdecimal() and number.isascii() for number in numbers):
        raise SettingsError(f"--gpus {given}: expected the GPUs of each node, like 8,8,2")
    return tuple(int(number) for number in numbers)


def _with_options(
    config: ServeConfig, *, policy: Path | None, host: str | None, port: int | None
) -> ServeConfig:
    settings = config.settings
    if policy is not None:
        chosen = settings.policy.model_copy(update={"path": str(policy.absolute())})
        settings = settings.model_copy(update={"policy": chosen})
    return ServeConfig(settings, host or config.host, port or config.port, config.built_in)


def _prepare_model(config: ServeConfig, screen: Screen) -> None:
    """Prepare the embedded model before any engine starts, where its progress can be seen."""
    if config.settings.model.path != EMBEDDED or config.settings.fake_engines is not None:
        return
    told = ""

    def show(stage: str, _: float) -> None:
        nonlocal told
        if stage != told:
            told = stage
            screen.note(f"preparing the model: {stage}")

    model_store.prepare(model_store.default_cache_dir(), progress=show)

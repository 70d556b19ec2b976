"""A drafter's versions: the name that a profile has is a link, switched at once, and the last one is kept.

Beside the drafter `name` stands `name.versions/`: a folder for the version in use and one for the version
before, and the link `previous` to that. Engines resolve the link when they start, so one that starts while it
is switched has the old drafter or the new one, whole.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from drafters.errors import DraftError
from drafters.runs import only_run

_PREVIOUS: Final = "previous"
_PACKAGED_AS: Final = "embedded"
COPY_IT: Final = (
    "the drafter that ships with specroute is shared and stays as it is. Copy it first: "
    "cp -r \"$(python -c 'from replicas.drafting import PACKAGED; print(PACKAGED)')\" eagle3; then name that "
    "folder in the profile's draft_model, and here: --drafter eagle3"
)
"""What to say to those who name the packaged drafter: all installations of the machine may share it."""
_NUMBERED: Final = re.compile(r"(\d{4,})-.+")


def promote(drafter: Path, candidate: Path, *, name: str, check: Callable[[Path], object]) -> Path:
    """Makes a copy of `candidate` the drafter; the one that was is kept as the version before.

    Args:
        drafter: What the profile's draft_model names: a drafter's folder, or by now a link to one.
        candidate: The new drafter's folder.
        name: What to call the version, after its number.
        check: Raises where a folder is no whole drafter; called on the copy, before anything is switched.

    Returns:
        The new version's folder.

    Raises:
        DraftError: The disk is full, the place cannot be written, or another promotion is under way.
    """
    store = _store(drafter)
    with only_run(store), _told(drafter):
        _settle(drafter)
        if not drafter.is_symlink():
            _become_link(drafter, store)
        version = _copied(candidate, store, name)
        try:
            check(version)
        except BaseException:
            shutil.rmtree(version, ignore_errors=True)
            raise
        _switch(store / _PREVIOUS, drafter.resolve())
        _switch(drafter, version)
        _prune(drafter, store)
        return version


def roll_back(drafter: Path) -> Path:
    """Makes the version before the drafter again, and the one that was the version before.

    Raises:
        DraftError: There is none, or the place cannot be written.
    """
    store = _store(drafter)
    if not (store / _PREVIOUS).exists() or (store / _PREVIOUS).resolve() == drafter.resolve():
        raise DraftError(f"{drafter}: no version before this one is kept: nothing was promoted there yet")
    with only_run(store), _told(drafter):
        _settle(drafter)
        before, now = (store / _PREVIOUS).resolve(), drafter.resolve()
        _switch(drafter, before)
        _switch(store / _PREVIOUS, now)
        return before


def settled(drafter: Path) -> Path:
    """The folder that `drafter` stands for now; what an interrupted first promotion left is set right.

    Raises:
        DraftError: There is no such drafter.
    """
    _settle(drafter)
    if not drafter.is_dir():
        if drafter.name == _PACKAGED_AS:
            raise DraftError(f"{_PACKAGED_AS}: {COPY_IT}")
        raise DraftError(
            f"{drafter}: no such drafter: name the folder that the profile's draft_model names, "
            "or make one with `specroute draft train`"
        )
    return drafter.resolve()


def _store(drafter: Path) -> Path:
    return drafter.with_name(f"{drafter.name}.versions")


def _aside(drafter: Path) -> Path:
    return drafter.with_name(f".{drafter.name}.replaced")


def _settle(drafter: Path) -> None:
    aside = _aside(drafter)
    if aside.is_dir():
        if os.path.lexists(drafter):
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(drafter)


def _become_link(drafter: Path, store: Path) -> None:
    """Turns a plain folder into a link to a copy of it.

    A folder cannot be replaced by a link in one step: for some microseconds, once in a drafter's life, the
    name is free. An engine that starts just then is started again by Serve.
    """
    first = _copied(drafter, store, "first")
    link = drafter.with_name(f".{drafter.name}.link")
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(first.resolve(), drafter.parent.resolve()))
    drafter.rename(_aside(drafter))
    link.rename(drafter)
    shutil.rmtree(_aside(drafter), ignore_errors=True)


def _copied(folder: Path, store: Path, name: str) -> Path:
    numbers = [int(found[1]) for path in store.iterdir() if (found := _NUMBERED.fullmatch(path.name))]
    version = store / f"{1 + max(numbers, default=0):04d}-{name}"
    partial = store / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(folder, partial)
        for path in partial.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        partial.rename(version)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return version


def _switch(link: Path, to: Path) -> None:
    """Points a link somewhere else in one step. It is relative: the folder may be mounted elsewhere."""
    fresh = link.with_name(f".{link.name}.link")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(os.path.relpath(to.resolve(), link.parent.resolve()))
    fresh.rename(link)


def _prune(drafter: Path, store: Path) -> None:
    kept = {drafter.resolve(), (store / _PREVIOUS).resolve()}
    for path in store.iterdir():
        if _NUMBERED.fullmatch(path.name) and path.resolve() not in kept:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _told(drafter: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC or "No space" in str(error)
        raise DraftError(
            f"{drafter}: cannot be replaced ({error}): "
            f"{'free some space' if full else 'make its folder writable'}; the drafter is as it was"
        ) from error

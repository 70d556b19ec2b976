"""Where an interrupted training goes on: one file, replaced as a whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, Final

import torch

from drafters.errors import DraftError

FORMAT: Final = "specroute-training/1"


def save(file: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint; whoever reads the file sees the old one or the new one, both whole.

    Raises:
        DraftError: The disk is full or the folder cannot be written. The old checkpoint is still there.
    """
    partial = file.with_suffix(".partial")
    try:
        with partial.open("wb") as opened:
            torch.save({"format": FORMAT, **state}, opened)
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(file)
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
        partial.unlink(missing_ok=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or isinstance(error, RuntimeError)
        advice = "free some space and run the command again" if full else "make the folder writable"
        raise DraftError(
            f"{file}: cannot be written ({_first_line(error)}): {advice}; the last one is kept"
        ) from error


def read(file: Path, *, digest: str) -> dict[str, Any] | None:
    """The checkpoint of this training, None where there is none.

    Args:
        file: Where it is.
        digest: Stands for the settings and the recorded answers; a checkpoint of others is refused.

    Raises:
        DraftError: The file is damaged, or it belongs to a training with other settings or answers.
    """
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(file, weights_only=True)
        known = state["format"] == FORMAT
    except Exception as error:  # torch.load has half a dozen kinds of errors for a damaged file
        raise DraftError(
            f"{file}: damaged ({_first_line(error)}): delete it, and training begins anew"
        ) from error
    if not known or state.get("digest") != digest:
        raise DraftError(
            f"{file}: of a training with other settings or answers: give the same ones, "
            "delete it to begin anew, or name another folder"
        )
    return state


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0][:200]

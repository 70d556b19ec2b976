"""Logging of our own packages: readable lines, to a file where somebody collects them, else to stderr."""

from __future__ import annotations

import logging
import os
from pathlib import Path

FOLDER_VARIABLE = "SPECROUTE_LOG_DIR"
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_PACKAGES = ("router", "replicas", "policies")


def configure_logging(who: str) -> None:
    """Send the log of our packages in this process to `<folder>/<who>.log`, or to stderr without a folder."""
    folder = os.environ.get(FOLDER_VARIABLE)
    handler: logging.Handler
    if folder:
        handler = logging.FileHandler(Path(folder) / f"{who}.log", encoding="utf-8", delay=True)
    else:
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT, datefmt="%H:%M:%S"))
    for package in _PACKAGES:
        logger = logging.getLogger(package)
        logger.handlers = [handler]
        logger.setLevel(os.environ.get("SPECROUTE_LOG_LEVEL", "INFO").upper())
        logger.propagate = False

"""Ports for services that tests start."""

from __future__ import annotations

import socket
from contextlib import suppress
from random import SystemRandom

PORTS = range(20_000, 30_000)
"""Below those the kernel hands out, and those services take: Ray binds a hundred, and could be given ours."""


def free_port() -> int:
    """A port that nobody has now, and that nobody is given by chance."""
    while True:
        port = SystemRandom().choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port

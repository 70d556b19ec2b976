"""Starts a Ray cluster of one node on loopback, in the environment that `specroute serve` gives its own Ray.

`python ray_node.py PORTS NOTE` runs Ray's own `ray start --head` with the ports of a JSON object, writes the variables that Ray's
programs need to reach it into the file NOTE, and ends it with everything in it when standard input ends.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from router.serving.environment import RUN_VARIABLE, new_run, prepare_environment
from router.serving.warden import Warden

RAY = Path(sys.executable).with_name("ray")
TOLD = ("RAY_", "SPECROUTE_")


def main(ports: Mapping[str, int], note: Path) -> None:
    """Start Ray, wait for the end of standard input, and leave nothing behind."""
    run = new_run()
    warden = Warden(RUN_VARIABLE, run.mark, run.folder)
    try:
        prepare_environment(run)
        told = {name: value for name, value in os.environ.items() if name.startswith(TOLD)}
        note.touch(mode=0o600)
        note.write_text(json.dumps(told))
        head = subprocess.Popen(
            [
                *(RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1"),
                *("--dashboard-host=127.0.0.1", "--include-dashboard=true", "--include-log-monitor=false"),
                *(
                    "--num-cpus=2",
                    f"--object-store-memory={200 * 2**20}",
                    f"--temp-dir={run.ray}",
                ),
                *(f"--{name}={port}" for name, port in ports.items()),
            ],
            stdin=subprocess.DEVNULL,
        )
        while head.poll() is None and not _closed():
            pass
        head.terminate()
    finally:
        warden.sweep()


def _closed() -> bool:
    """Whether standard input has ended, as it does when whoever started this ends; looks for half a second."""
    ready, _, _ = select.select([sys.stdin], [], [], 0.5)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))

"""What a bench started ends with it, and SIGTERM twice ends it once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.stopping import ending_with

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
STARTS_ONE = (
    "import os, subprocess, sys, time; from bench.stopping import ending_with; "
    "child = subprocess.Popen(ending_with(os.getpid(), ['sleep', '300']), start_new_session=True); "
    "print(child.pid, flush=True); time.sleep(300)"
)
CLEANS_UP = """
import time
from bench.stopping import stop_on_sigterm
stop_on_sigterm()
try:
    print("ready", flush=True)
    time.sleep(300)
except KeyboardInterrupt:
    print("ending", flush=True)
    time.sleep(0.5)
    print("ended", flush=True)
"""


def program(text: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_what_a_killed_bench_started_ends_too() -> None:
    """Nobody can clean up after SIGKILL but the kernel."""
    with program(STARTS_ONE) as bench:
        assert bench.stdout is not None
        started = psutil.Process(int(bench.stdout.readline()))
        bench.kill()
    assert psutil.wait_procs([started], timeout=10)[1] == []


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_what_starts_after_its_parent_is_gone_ends_at_once() -> None:
    """Between the start and the kernel's promise the parent may die."""
    command = ending_with(os.getpid() + 1, ["sleep", "300"])
    assert subprocess.run(command, timeout=10, check=False).returncode == 1


def test_a_second_sigterm_does_not_cut_the_ending_short() -> None:
    """`timeout` sends one to the process and one to its group."""
    with program(CLEANS_UP) as bench:
        assert bench.stdout is not None
        assert bench.stdout.readline() == "ready\n"
        bench.send_signal(signal.SIGTERM)
        assert bench.stdout.readline() == "ending\n"
        bench.send_signal(signal.SIGTERM)
        assert bench.stdout.readline() == "ended\n"
    assert bench.returncode == 0

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from redis import Redis
from waiting import until

from router.valkey import EmbeddedValkey, EmbeddedValkeyError

pytestmark = pytest.mark.integration


PARENT = """
import sys, time
from redis import Redis
from router.valkey import EmbeddedValkey

server = EmbeddedValkey(sys.argv[1])
server.start()
Redis.from_url(server.url).set("kept", "1")
print(server.pid, server.url.removeprefix('unix://'), flush=True)
time.sleep(600)
"""


def wait_until_gone(pid: int) -> None:
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_data_survives_a_restart(tmp_path: Path) -> None:
    """What was written is there in the next run, and stopping twice is harmless."""
    server = EmbeddedValkey(tmp_path)
    with server:
        Redis.from_url(server.url).set("kept", "1")
        pid = server.pid
    assert pid is not None
    wait_until_gone(pid)
    server.stop()
    with pytest.raises(EmbeddedValkeyError, match="not running"):
        _ = server.url
    with server:
        assert Redis.from_url(server.url).get("kept") == b"1"


def test_only_its_user_can_reach_it(own_valkey: EmbeddedValkey) -> None:
    """No TCP port is open, and the socket lies in a directory of mode 700."""
    socket_path = Path(own_valkey.url.removeprefix("unix://"))
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o700
    assert not psutil.Process(own_valkey.pid).net_connections("inet")


def test_long_paths_are_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data may lie deep, and so may the temporary directory, without a socket path that is too long."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with EmbeddedValkey(deep / "data") as server:
        assert Redis.from_url(server.url).ping()
        runtime_dir = Path(server.url.removeprefix("unix://")).parent
    assert not runtime_dir.exists()


def test_a_data_directory_has_one_server(own_valkey: EmbeddedValkey) -> None:
    """The second is refused, says why, and leaves the first alone."""
    with pytest.raises(EmbeddedValkeyError, match="another specroute"):
        EmbeddedValkey(own_valkey.log_path.parent).start()
    assert Redis.from_url(own_valkey.url).ping()


def test_who_joins_takes_over_at_the_same_address(tmp_path: Path) -> None:
    """A router that replaces another uses its store, and keeps it when the other has gone; a third one likewise."""
    first, second, third = (EmbeddedValkey(tmp_path, join=True) for _ in range(3))
    with first, second:
        store = Redis.from_url(second.url)
        assert second.url == first.url
        assert second.pid is None
        store.set("kept", "1")
        assert not second.revive()
        first.stop()
        until(second.revive)
        until(store.ping)
        assert store.get("kept") == b"1"
        with third:  # leaves before its host
            assert third.url == second.url
        assert store.ping()
    assert not Path(store.connection_pool.connection_kwargs["path"]).parent.exists()


def test_who_joins_survives_a_killed_host(tmp_path: Path) -> None:
    """The host's own revival finds the data in use, and joins."""
    with EmbeddedValkey(tmp_path, join=True) as host, EmbeddedValkey(tmp_path, join=True) as guest:
        assert host.pid is not None
        os.kill(host.pid, signal.SIGKILL)
        until(guest.revive)
        until(lambda: not host.revive() and host.pid is None)
        store = Redis.from_url(host.url)
        until(store.ping)
        host.stop()
        assert store.ping()


def test_a_directory_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    """Where the socket was, another user may have made a directory meanwhile."""
    with EmbeddedValkey(tmp_path, join=True) as host, EmbeddedValkey(tmp_path, join=True) as guest:
        folder = Path(guest.url.removeprefix("unix://")).parent
        host.stop()
        folder.mkdir()
        folder.chmod(0o755)
        with pytest.raises(EmbeddedValkeyError, match="does not start"):
            guest.revive()
        folder.rmdir()
        assert guest.revive()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The error ends with the server's last line, and the directory is free again."""
    bad = tmp_path / "bad"
    bad.write_text("#!/bin/sh\necho starting\necho cannot load the data >&2\nexit 1\n")
    bad.chmod(0o700)
    with pytest.raises(EmbeddedValkeyError, match="cannot load the data"):
        EmbeddedValkey(tmp_path / "data", binary=bad).start()
    with EmbeddedValkey(tmp_path / "data") as server:
        assert server.pid is not None
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedValkeyError, match="cannot keep statistics"):
        EmbeddedValkey(tmp_path / "file").start()


def test_a_server_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """Stopping is bounded in time."""
    server = EmbeddedValkey(tmp_path, stop_timeout_s=0.2)
    server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    wait_until_gone(pid)


def test_it_dies_with_its_parent_and_keeps_the_data(tmp_path: Path) -> None:
    """A parent killed with SIGKILL leaves no server behind; the next run has its data and tidies up."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PARENT,
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    pid_word, socket_path = parent.stdout.readline().decode().split()
    pid = int(pid_word)
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    with EmbeddedValkey(tmp_path) as server:
        wait_until_gone(pid)
        assert Redis.from_url(server.url).get("kept") == b"1"
        assert not Path(socket_path).parent.exists()

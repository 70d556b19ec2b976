"""What the processes of an embedded service inherit."""

import os
from pathlib import Path

import pytest

from router.serving.environment import RUN_VARIABLE, new_run, prepare_environment


@pytest.mark.parametrize(("own", "expected"), [(None, "2"), ("8", "8")])
def test_threads_share_arenas_unless_the_operator_says_otherwise(
    own: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the memory of routers that do nothing grows for an hour."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("MALLOC_ARENA_MAX", None)
    if own is not None:
        os.environ["MALLOC_ARENA_MAX"] = own
    run = new_run()
    try:
        prepare_environment(run)
        assert os.environ["MALLOC_ARENA_MAX"] == expected
        assert os.environ[RUN_VARIABLE] == run.mark
    finally:
        run.remove()


def test_engines_keep_their_sockets_in_the_folder_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is deleted; their paths, with a UUID, have room in what a socket's may be."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    run = new_run()
    try:
        prepare_environment(run)
        folder = Path(os.environ["VLLM_RPC_BASE_PATH"])
        assert folder.is_dir()
        assert folder.is_relative_to(run.folder)
        assert len(str(folder / "01234567-89ab-cdef-0123-456789abcdef")) < 100
    finally:
        run.remove()
    assert not folder.exists()

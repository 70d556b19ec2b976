"""The command line imports what a command needs, and nothing for those that are not called."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from router.cli import app
from router.cli_lazy import Lazy, lazy_group

pytestmark = pytest.mark.unit

PRESET = Path(__file__).parents[3] / "policies" / "presets" / "default.yaml"
HEAVY = ("torch", "vllm", "ray", "sklearn", "transformers", "redis", "scipy", "openai")
PROGRAM = """
import sys
sys.argv[1:] = {arguments!r}
from router.cli import main
try:
    main()
finally:
    print(*sorted(sys.modules), sep="\\n", file=sys.stderr)
"""
CONTEXT: Any = None
"""Typer asks nothing of it."""


def imported(*arguments: str) -> set[str]:
    """The modules that a command line has imported when it ends well."""
    program = PROGRAM.format(arguments=list(arguments))
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return set(ran.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "further"),
    [
        (["--help"], ("numpy", "yaml", "policies", "replicas", "router.settings")),
        (["policy", "--help"], ("numpy", "yaml", "policies", "replicas", "router.settings")),
        (
            ["policy", "validate", str(PRESET)],
            ("replicas", "router.admin_client", "router.cli_policy.suggest"),
        ),
    ],
    ids=["help", "help of policies", "validate"],
)
def test_what_is_quick_stays_quick(arguments: list[str], further: tuple[str, ...]) -> None:
    """Neither an engine nor Ray nor the models of policies are imported for a list of commands."""
    assert imported(*arguments) & {*HEAVY, *further} == set()


def groups(group: Any) -> Iterator[Any]:
    """A group and those in it."""
    yield group
    for name in group.list_commands(CONTEXT):
        command = group.get_command(CONTEXT, name)
        if isinstance(command, typer.core.TyperGroup):
            yield from groups(command)


def test_lists_of_commands_say_what_the_commands_say() -> None:
    """The line in the list is the first paragraph of the command's own help."""
    compared = 0
    for group in groups(typer.main.get_command(app)):
        for name in group.list_commands(CONTEXT):
            own = group.get_command(CONTEXT, name).help.split("\n\n")[0]
            assert " ".join(group.commands[name].help.split("\n\n")[0].split()) == " ".join(own.split()), name
            compared += 1
    assert compared > 20


def test_a_command_is_imported_once_it_is_called() -> None:
    """And only then; what is not there is told as ever."""
    kind = lazy_group({"there": Lazy("nowhere.at_all", "there", "It is.")})
    group: Any = typer.main.get_command(typer.Typer(cls=kind, callback=lambda: None))
    assert group.list_commands(CONTEXT) == ["there"]
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        group.get_command(CONTEXT, "there")
    assert group.get_command(CONTEXT, "other") is None

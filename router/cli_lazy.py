"""Commands whose modules are imported when they are called, so that the command line answers at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

MARKDOWN: Final[dict[str, Any]] = {"rich_markup_mode": "markdown", "pretty_exceptions_enable": False}


class Lazy(NamedTuple):
    """A command: the module and name of its function, or of its `typer.Typer`, and its line of help."""

    module: str
    name: str
    help: str


def lazy_group(commands: Mapping[str, Lazy]) -> type[TyperGroup]:
    """A class of groups with these commands, for `typer.Typer(cls=…)`.

    A list of commands shows the line of help from here (a test compares it with that of the command) and
    imports none of them.
    """

    class Group(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            shown = {name: TyperCommand(name=name, help=lazy.help) for name, lazy in commands.items()}
            self.commands = {**self.commands, **shown}
            self._loaded: dict[str, Any] = {}
            self._listing = False

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if self._listing or cmd_name not in commands:
                return super().get_command(ctx, cmd_name)
            if cmd_name not in self._loaded:
                self._loaded[cmd_name] = _loaded(cmd_name, commands[cmd_name])
            return self._loaded[cmd_name]

        def format_help(self, ctx: Any, formatter: Any) -> None:
            self._listing = True
            try:
                super().format_help(ctx, formatter)
            finally:
                self._listing = False

    return Group


def _loaded(name: str, lazy: Lazy) -> Any:
    found: Callable[..., Any] | typer.Typer = getattr(import_module(lazy.module), lazy.name)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, **MARKDOWN)
        alone.command(name)(found)
        return get_command(alone)
    group = get_group(found)
    group.name = name
    return group

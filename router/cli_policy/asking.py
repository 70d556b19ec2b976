"""What commands do with the answers of a running service: a refusal ends the command and says what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from policies.problems import Problem
from router.admin_client import AdminClient, AdminError, AdminUrlError, Answer
from router.cli_policy.files import BAD_INPUT, bad_input
from router.policy_edit import EditError

_FAILED: Final = 1
_WRONG, _UNKNOWN, _UNUSABLE = 400, 404, 422

Url = Annotated[str, typer.Option(help="The running service.")]


def asked(url: str, ask: Callable[[AdminClient], Answer]) -> Answer:
    """What a service answers; where nobody does, the command ends with 1, and with 2 for what is no URL."""
    try:
        return ask(AdminClient(url))
    except AdminUrlError as error:
        raise bad_input(str(error)) from None
    except (AdminError, EditError) as error:
        typer.echo(f"specroute: {error}", err=True)
        raise typer.Exit(_FAILED) from None


def refuse(answer: Answer, source: str = "policy") -> None:
    """End the command where the service refused: with 2 where what it was given is at fault, else with 1.

    `source` is what the places of problems are places in.
    """
    if answer.ok:
        return
    problems: list[dict[str, Any]] = answer.body.get("problems", [])
    if answer.status == _UNUSABLE and problems:
        for problem in problems:
            typer.echo(problem_line(source, problem), err=True)
        raise typer.Exit(BAD_INPUT)
    if answer.status == _UNKNOWN and not answer.message.startswith("revision"):
        typer.echo("specroute: this service is too old for this command", err=True)
        raise typer.Exit(_FAILED)
    typer.echo(f"specroute: {answer.message or f'refused with status {answer.status}'}", err=True)
    raise typer.Exit(BAD_INPUT if answer.status == _WRONG else _FAILED)


def problem_line(source: str, problem: Mapping[str, Any]) -> str:
    """A problem as `policy validate` prints it."""
    return str(
        Problem(source, **{key: problem[key] for key in ("line", "column", "path", "message", "hint")})
    )

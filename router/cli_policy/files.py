"""Policy files as commands read them: a problem ends the command with what is wrong and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from policies.loading import PolicyError, parse_policy
from policies.problems import Problem
from policies.schema import RoutingPolicy
from router.policy_source import default_policy

BAD_INPUT = 2

PolicyFile = Annotated[Path | None, typer.Argument(help="A policy file; default: the built-in policy.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def bad_input(text: str) -> typer.Exit:
    """Say on one line what cannot be used; raise what is returned to end the command."""
    typer.echo(f"specroute: {text}", err=True)
    return typer.Exit(BAD_INPUT)


def file_text(file: Path) -> bytes:
    """The content of a file."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise bad_input(f"{file}: {error.strerror or error}") from None


def policy_text(file: Path | None) -> bytes:
    """The content of a policy file, or of the built-in policy."""
    return default_policy().encode() if file is None else file_text(file)


def loaded(file: Path | None, *, as_json: bool) -> RoutingPolicy:
    """The policy of a file, or the built-in one."""
    try:
        return parse_policy(policy_text(file), source_of(file))
    except PolicyError as error:
        raise refused(error, as_json=as_json) from None


def refused(error: PolicyError, *, as_json: bool) -> typer.Exit:
    """Say all that is wrong with a policy; raise what is returned to end the command."""
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "valid": False,
                    "problems": [problem_entry(found) for found in error.problems],
                    "warnings": [],
                }
            )
        )
    else:
        typer.echo(str(error), err=True)
    return typer.Exit(BAD_INPUT)


def source_of(file: Path | None) -> str:
    """What problems call the file."""
    return str(file) if file is not None else "default.yaml"


def problem_entry(problem: Problem) -> dict[str, Any]:
    """A problem as JSON tells it."""
    return {
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    }

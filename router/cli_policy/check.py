"""`specroute policy validate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from policies.loading import PolicyError, parse_with_warnings
from policies.problems import MAX_PROBLEMS
from router.cli_policy.files import (
    AsJson,
    PolicyFile,
    bad_input,
    file_text,
    policy_text,
    problem_entry,
    refused,
    source_of,
)
from router.keys import KeysError, parse_keys


def validate(
    file: PolicyFile = None,
    *,
    keys: Annotated[
        Path | None,
        typer.Option(help="A file of API keys: warn of tenants that none belongs to."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where there are warnings.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say everything that is wrong with a policy, and warn of what is probably not meant.

    Exit code: 0 valid, 1 valid with warnings and --strict, 2 it cannot be used.

    Example: specroute policy validate my-policy.yaml --keys keys.yaml --strict
    """
    tenants = None if keys is None else _tenants(keys)
    try:
        policy, warnings = parse_with_warnings(policy_text(file), source_of(file), tenants)
    except PolicyError as error:
        raise refused(error, as_json=as_json) from None
    name = policy.metadata.name
    if as_json:
        entries = [problem_entry(warning) for warning in warnings]
        typer.echo(json.dumps({"valid": True, "name": name, "problems": [], "warnings": entries}))
    else:
        for warning in warnings:
            typer.echo(f"warning: {warning}", err=True)
        typer.echo(f"{name}: valid{_counted(len(warnings))}")
    if warnings and strict:
        raise typer.Exit(1)


def _counted(warnings: int) -> str:
    if warnings > MAX_PROBLEMS:
        return f", more than {MAX_PROBLEMS} warnings"
    return f", {warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""


def _tenants(keys: Path) -> frozenset[str]:
    try:
        return parse_keys(file_text(keys), str(keys)).tenants
    except KeysError as error:
        raise bad_input(str(error).splitlines()[0]) from None

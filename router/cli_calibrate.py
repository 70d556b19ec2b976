"""`specroute calibrate`: measures what drafts are worth on the operator's prompts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from router.cli_policy.files import bad_input

_API_KEY_VARIABLE: Final = "SPECROUTE_API_KEY"
_MOST_BATCH: Final = 1024


def calibrate(  # noqa: PLR0917 - an option each
    prompts: Annotated[Path, typer.Argument(help="JSON Lines: `domain` and `messages` (or `prompt`).")],
    url: Annotated[str, typer.Option(help="The running service.")] = "http://127.0.0.1:8000",
    output: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("calibration"),
    per_domain: Annotated[int, typer.Option(min=1, help="Prompts of each domain, drawn at random.")] = 8,
    budget: Annotated[
        float | None,
        typer.Option(min=0.1, help="Minutes: fewer prompts, till it is estimated to take no longer."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Longest answer, where a prompt names none.")] = 64,
    k: Annotated[
        str | None, typer.Option(help="Draft tokens per step [default: three, up to the pool's k].")
    ] = None,
    temperature: Annotated[str, typer.Option(help="Temperatures; the first one is the base.")] = "0,0.7",
    top_p: Annotated[str, typer.Option(help="Values of top_p; the first one is the base.")] = "1",
    batch: Annotated[str, typer.Option(help="Requests that an engine decodes at once.")] = "1,4",
    seed: Annotated[int, typer.Option(help="Of the prompts that are drawn, and of the order.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what --output has measured so far.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Say what would be measured and how long it takes, send nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure what drafts are worth on your prompts, and write a report, a calibration file and a policy.

    Every prompt is asked plainly, with some k, at other temperatures and in batches, in an order drawn anew
    for each. The policy must say `allow_overrides: true`. Run it again after Ctrl-C and it goes on. Set
    SPECROUTE_ADMIN_TOKEN when the service has an admin token, and SPECROUTE_API_KEY where tenants have keys.
    Exit code: 0 done, 1 stopped or failed on the way, 2 bad input.

    For example:

    - `specroute calibrate prompts.jsonl --budget 20`
    - `specroute calibrate prompts.jsonl --k 1,3,5 --temperature 0.7,0 --batch 1,8`
    """
    from router.calibrating.command import run_calibration  # noqa: PLC0415 - keeps --help quick
    from router.calibrating.options import Options, OptionsError, numbers, whole_numbers  # noqa: PLC0415

    try:
        options = Options(
            prompts=prompts,
            url=url,
            output=output,
            per_domain=per_domain,
            budget_s=None if budget is None else 60 * budget,
            max_tokens=max_tokens,
            ks=() if k is None else whole_numbers("--k", k),
            temperatures=numbers("--temperature", temperature, least=0, most=2),
            top_ps=numbers("--top-p", top_p, least=0.01, most=1),
            batches=whole_numbers("--batch", batch, most=_MOST_BATCH),
            seed=seed,
            api_key=os.environ.get(_API_KEY_VARIABLE) or None,
            fresh=fresh,
            check=check,
            as_json=as_json,
        )
    except OptionsError as error:
        raise bad_input(str(error)) from None
    raise typer.Exit(run_calibration(options))

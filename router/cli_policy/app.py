"""`specroute policy`: what its commands are called."""

from __future__ import annotations

import typer

from router.cli_policy import adoption, check, compare, describe, live, replay, suggest

app = typer.Typer(
    help="""Check, explain, compare and change policies.

    For example:

    - `specroute policy validate my-policy.yaml`
    - `specroute policy explain my-policy.yaml --tenant acme --task code --at 09:00`
    - `specroute policy diff my-policy.yaml next.yaml`
    - `specroute policy suggest my-policy.yaml`: thresholds from what was measured
    - `specroute policy schema > policy.schema.json`
    - `specroute policy set-mode always_vanilla`: the kill switch
    """,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command("validate")(check.validate)
app.command("explain")(describe.explain)
app.command("diff")(compare.diff)
app.command("schema")(describe.schema)
app.command("suggest")(suggest.suggest_command)
app.command("replay")(replay.replay)
app.command("set-mode")(live.set_mode)
app.command("apply")(live.apply)
app.command("shadow")(adoption.shadow)
app.command("canary")(adoption.canary)
app.command("promote")(live.promote)
app.command("rollback")(live.rollback)
app.command("history")(live.history)

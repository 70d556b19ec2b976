"""`specroute policy`: what its commands are called."""

from __future__ import annotations

import typer

from router.cli_lazy import Lazy, lazy_group

_LAZY = {
    "validate": Lazy(
        "router.cli_policy.check",
        "validate",
        "Say everything that is wrong with a policy, and warn of what is probably not meant.",
    ),
    "explain": Lazy(
        "router.cli_policy.describe",
        "explain",
        "Show every setting that holds for a tenant and task at a time, and which layer set it.",
    ),
    "diff": Lazy(
        "router.cli_policy.compare",
        "diff",
        "Show what changes for whom: every effective value once, for the broadest group it changes for.",
    ),
    "schema": Lazy(
        "router.cli_policy.describe", "schema", "Print the JSON Schema of policy files, for editors."
    ),
    "suggest": Lazy(
        "router.cli_policy.suggest",
        "suggest_command",
        "Suggest thresholds per task and tenant at the measured break-even, with the evidence, as a patch.",
    ),
    "replay": Lazy(
        "router.cli_policy.replay",
        "replay",
        "Estimate what a candidate policy would have changed, from the decisions another one logged.",
    ),
    "set-mode": Lazy(
        "router.cli_policy.live",
        "set_mode",
        "Change spec.mode of a running service, and nothing else: `always_vanilla` is the kill switch.",
    ),
    "apply": Lazy(
        "router.cli_policy.live",
        "apply",
        "Put a policy in force on a running service, on all of its routers.",
    ),
    "shadow": Lazy(
        "router.cli_policy.adoption",
        "shadow",
        "Show what mode shadow would have saved, as predicted, since the policy last changed.",
    ),
    "canary": Lazy(
        "router.cli_policy.adoption",
        "canary",
        "Show how the canary fares: its requests, its times beside the policy in force, and the verdict.",
    ),
    "promote": Lazy(
        "router.cli_policy.live",
        "promote",
        "Put the canary's candidate in force, in the place of the policy it was tried beside.",
    ),
    "rollback": Lazy(
        "router.cli_policy.live", "rollback", "Put an earlier version of the policy in force again."
    ),
    "history": Lazy(
        "router.cli_policy.live",
        "history",
        "List the last versions of the policy of a running service, the newest first, and its routers.",
    ),
}

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
    cls=lazy_group(_LAZY),
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.callback()
def policy() -> None:
    """Makes it a group, whatever number of commands there is."""

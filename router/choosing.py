"""Which policy decides a request, and its first decision."""

from __future__ import annotations

from collections.abc import Callable

from policies.groups import Limits
from router.canary import Canary, Chosen
from router.deciding import Choice, Decider
from router.errors import ApiError
from router.requests import RoutedRequest


def choose(
    policies: Canary,
    decider: Decider,
    request: RoutedRequest,
    task: str,
    has_room: Callable[[str, Limits], bool],
) -> tuple[Chosen, Choice]:
    """The policy of a request of `task`, and what it decides; `has_room` says whether it is sent at once.

    Where the canary's candidate fails to decide, the policy in force does: the trial is the operator's, not
    the client's. Raises UnavailableError when no pool can answer.
    """

    def decided(chosen: Chosen) -> tuple[Chosen, Choice]:
        sent = has_room(request.tenant, chosen.policy.limits)
        return chosen, decider.decide(request, task, chosen.policy, canary=chosen.canary, sent=sent)

    chosen = policies.choose(tenant=request.tenant, task=task)
    try:
        return decided(chosen)
    except ApiError:
        raise
    except Exception as error:
        if not chosen.canary:
            raise
        return decided(policies.instead_of(chosen.label, error, tenant=request.tenant, task=task))

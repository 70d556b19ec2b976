"""Settings that are allowed and yet cannot be meant: what `specroute policy validate` warns of."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

from policies.base import CHOOSING_MODES
from policies.conflicts import Named, combinations
from policies.diff.hours import weeks
from policies.layers import Key, Layer, Layers, Settings, merged
from policies.preferences import self_service
from policies.priors import TWO_MODEL_ALPHA
from policies.problems import Path, Violation
from policies.schema import RoutingPolicy
from policies.units import format_share

PLAUSIBLE_ALPHA: Final = 0.98
"""Drafts are hardly ever accepted more often than this over any length of time."""

_UPPER: Final = ("threshold", "enable_above")
_SHARE: Final = ("exploration", "share")


def advice(policy: RoutingPolicy, tenants_with_keys: Collection[str] | None = None) -> list[Violation]:
    """What is probably not meant, with paths from the root of the file; nothing of it is an error.

    Args:
        policy: A policy without conflicts.
        tenants_with_keys: The tenants that API keys belong to; None where that is not known.
    """
    cells = list(_cells(policy))
    found = [
        *_out_of_reach(cells),
        *_idle_bands(policy, cells),
        *_idle_bounds(policy, cells),
        *_never_corrected(cells),
        *_hidden_schedules(policy),
        *_unused_segments(policy),
        *_unproven_canary(policy),
    ]
    if tenants_with_keys is not None:
        found += _without_keys(policy, tenants_with_keys)
    return list(dict.fromkeys(found))


class _Cell(NamedTuple):
    named: Named
    layers: list[Layer]
    settings: Settings

    def value(self, *key: str) -> Any:
        return self.settings[key].value

    @property
    def mode(self) -> str:
        return str(self.value("mode"))


def _cells(policy: RoutingPolicy) -> Iterator[_Cell]:
    layers = Layers(policy)
    seen: set[object] = set()
    for named, schedules in combinations(policy):
        selected = layers.select(named.tenant, named.task, schedules, segment=named.segment)
        signature = (named.tenant, named.segment, tuple(layer.path for layer in selected if layer.values))
        if signature not in seen:
            seen.add(signature)
            yield _Cell(named, selected, merged(selected))


def _out_of_reach(cells: list[_Cell]) -> Iterator[Violation]:
    """Thresholds above any acceptance, or above what is assumed where nothing else is ever learned."""
    for cell in cells:
        if cell.mode != "threshold":
            continue
        path = _path(cell, _UPPER)
        upper = cell.value(*_UPPER)
        if upper > PLAUSIBLE_ALPHA:
            message = f"nobody can meet {upper:g}: acceptance stays below {PLAUSIBLE_ALPHA:g}"
            yield Violation((path,), message, "lower it, or say mode: always_vanilla")
            continue
        assumed = _assumed(cell)
        if cell.value(*_SHARE) == 0 and upper > assumed:
            message = f"speculation can never begin: {upper:g} is above the {assumed:g} that is assumed"
            yield Violation(
                (path, _path(cell, _SHARE)),
                f"{message} without evidence, and exploration.share is 0",
                "lower it, raise prior_alpha, or explore",
            )


def _path(cell: _Cell, key: Key) -> Path:
    """Where the file says a setting, or would say it."""
    return (*(cell.settings[key].layer.path or ("spec",)), *key)


def _assumed(cell: _Cell) -> float:
    """The highest acceptance a task may be taken to have before there is evidence."""
    own = cell.value("prior_alpha")
    if own is not None:
        return float(own)
    # Of model drafters, which are assumed to be better than those that copy.
    return TWO_MODEL_ALPHA.get(cell.named.task or "", max(TWO_MODEL_ALPHA.values()))


def _idle_bands(policy: RoutingPolicy, cells: list[_Cell]) -> Iterator[Violation]:
    """Bands of layers that are in mode adaptive whenever they count, and cannot be taken out of it.

    That of spec is what layers inherit, so that it may stand there in any mode.
    """
    if policy.spec.mode not in CHOOSING_MODES:
        return
    used: dict[Path, bool] = {}
    for cell in cells:
        is_used = cell.mode == "threshold" or _may_choose(policy, cell.named)
        for layer in cell.layers[1:]:
            if any(key[0] == "threshold" for key in layer.values):
                used[layer.path] = is_used or used.get(layer.path, False)
    for path, is_used in used.items():
        if not is_used:
            message, hint = "has no effect: the mode there is adaptive", "say mode: threshold, or remove it"
            yield Violation(((*path, "threshold"),), message, hint)


def _idle_bounds(policy: RoutingPolicy, cells: list[_Cell]) -> Iterator[Violation]:
    """Bounds of bands for tenants who are in mode adaptive and may not leave it."""
    if policy.spec.mode not in CHOOSING_MODES:
        return
    banded = {cell.named for cell in cells if cell.mode == "threshold"}
    tenants = {named.tenant for named in banded}
    segments = {named.segment for named in banded}
    segments |= {own.segment for name, own in policy.spec.tenants.items() if name in tenants}
    for kind, named, used in (
        ("segments", policy.spec.segments, segments),
        ("tenants", policy.spec.tenants, tenants),
    ):
        for name, own in named.items():
            allowed = own.self_service
            if name in used or allowed is None or allowed.threshold is None or "threshold" in allowed.modes:
                continue
            path: Path = ("spec", kind, name, "self_service", "threshold")
            message = "has no effect: the mode there is adaptive, and tenants may not change it"
            yield Violation((path,), message, "add threshold to self_service.modes, or remove it")


def _may_choose(policy: RoutingPolicy, named: Named) -> bool:
    """Whether somebody may put itself into mode threshold."""
    if named.tenant is not None:
        allowed = self_service(policy, named.tenant)
    elif named.segment is not None:
        allowed = policy.spec.segments[named.segment].self_service
    else:
        return False
    return allowed is not None and "threshold" in allowed.modes


def _never_corrected(cells: list[_Cell]) -> Iterator[Violation]:
    """Adaptive mode without exploration, where nobody else explores for the task either."""
    for cell in cells:
        setting = cell.settings[_SHARE]
        is_alone = cell.named.tenant is None and cell.named.segment is None
        if (
            is_alone
            and cell.mode == "adaptive"
            and setting.value == 0
            and "schedules" not in setting.layer.path
        ):
            yield Violation(
                (_path(cell, _SHARE),),
                "a wrong choice is never left again: what was found slow once is not tried any more",
                "explore a little, such as 1%",
            )


def _hidden_schedules(policy: RoutingPolicy) -> Iterator[Violation]:
    """Schedules that set nothing, or that later ones hide whenever they would apply."""
    layers = Layers(policy)
    schedules = policy.spec.schedules
    keys = [layers.select(None, None, (index,))[-1].values.keys() for index in range(len(schedules))]
    hours = weeks(schedules)
    for index, schedule in enumerate(schedules):
        path: Path = ("spec", "schedules", index)
        if not keys[index]:
            yield Violation(
                (path,), f"the schedule {schedule.name} sets nothing", "give it settings, or remove it"
            )
            continue
        shown = {key: list(hours[index]) for key in keys[index]}
        for later in range(index + 1, len(schedules)):
            for key in keys[index] & keys[later]:
                shown[key] = [mine & ~theirs for mine, theirs in zip(shown[key], hours[later], strict=True)]
        if not any(any(left) for left in shown.values()):
            yield Violation(
                (path,),
                f"the schedule {schedule.name} never applies: later ones set the same at all its hours",
                "move it behind them, or remove it",
            )


def _unused_segments(policy: RoutingPolicy) -> Iterator[Violation]:
    used = {own.segment for own in policy.spec.tenants.values()}
    for segment in policy.spec.segments:
        if segment not in used:
            path: Path = ("spec", "segments", segment)
            yield Violation((path,), "no tenant is in this segment", f"name it: segment: {segment}")


def _unproven_canary(policy: RoutingPolicy) -> Iterator[Violation]:
    if policy.spec.canary is not None and policy.spec.holdout.share == 0:
        message = f"with a holdout of {format_share(0)} the canary is compared with this policy only"
        hint = "set holdout.share, such as 1%, to see what either saves against plain decoding"
        yield Violation((("spec", "canary"),), message, hint)


def _without_keys(policy: RoutingPolicy, tenants_with_keys: Collection[str]) -> Iterator[Violation]:
    for tenant in policy.spec.tenants:
        if tenant not in tenants_with_keys:
            path: Path = ("spec", "tenants", tenant)
            yield Violation((path,), "no API key belongs to this tenant", "add one to the keys file")

"""Text into a policy, or into every problem it has."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from pydantic import ValidationError

from policies.json_schema import policy_json_schema
from policies.problems import Path, PolicyError, Problem, Violation
from policies.resolve import conflicts
from policies.schema import RoutingPolicy
from policies.translate import translated
from policies.unsupported import MESSAGE, unsupported
from policies.yaml_tree import Tree, read_tree

__all__ = ["PolicyError", "Problem", "parse_policy", "policy_json_schema"]

# Stands in for whole sections that are missing or wrong, so that the rest can still be checked.
_SKELETON: Final[Mapping[str, object]] = {
    "apiVersion": "specroute/v1",
    "kind": "RoutingPolicy",
    "metadata": {"name": "unnamed"},
    "spec": {},
}
# Field errors hide the errors of rules between fields, and those of a part the errors of the whole.
_ROUNDS: Final = 4
# Rules between values say nothing sensible about a section that lost one of its values.
_RULED: Final = frozenset({"threshold", "k", "exploration", "custom_tasks"})


def parse_policy(text: str | bytes, source: str) -> RoutingPolicy:
    """The policy a YAML text describes.

    Args:
        text: The file's content.
        source: What to call the file in problems.

    Raises:
        PolicyError: With every problem found in the text.
    """
    tree = read_tree(text, source)
    problems = [*tree.problems]
    problems += [tree.problem(path, MESSAGE, hint) for path, hint in unsupported(tree.values)]
    policy, violations = _validated(tree)
    problems += [_placed(tree, violation) for violation in violations]
    if problems or policy is None:
        raise PolicyError(problems)
    return policy


def _validated(tree: Tree) -> tuple[RoutingPolicy | None, list[Violation]]:
    """Validates; where that fails, takes the wrong parts out and looks on, to find every problem at once."""
    values: dict[str, Any] = copy.deepcopy(dict(tree.values))
    incomplete = {step for path in tree.refused for step in path if step in _RULED}
    found: list[Violation] = []
    for _ in range(_ROUNDS):
        try:
            policy = RoutingPolicy.model_validate(values)
        except ValidationError as error:
            violations = [violation for details in error.errors() for violation in translated(details)]
            found += _news(violations, incomplete, tree)
            for violation in violations:
                incomplete |= _RULED.intersection(*violation.paths[:1])
                _take_out(values, violation.paths[0])
        else:
            found += _news(conflicts(policy), incomplete, tree)
            return policy, found
    return None, found


def _news(
    violations: Iterable[Violation], incomplete: AbstractSet[str | int], tree: Tree
) -> Iterator[Violation]:
    """The violations that are not mere consequences of what was refused or taken out."""
    for violation in violations:
        first, *others = violation.paths
        is_moot = bool(others) and any(not incomplete.isdisjoint(path) for path in violation.paths)
        is_refused = any(first[:length] in tree.refused for length in range(1, len(first) + 1))
        if not is_moot and not is_refused:
            yield violation


def _take_out(values: dict[str, Any], path: Path) -> None:
    """Removes what stands at a path: its section where a required key is missing, the list of an item."""
    holder: Any = values
    for depth, step in enumerate(path[:-1]):
        child = holder.get(step)
        is_missing = depth + 2 == len(path) and isinstance(child, dict) and path[-1] not in child
        if is_missing or not isinstance(child, dict):
            path = path[: depth + 1]
            break
        holder = child
    holder.pop(path[-1], None)
    if len(path) == 1 and path[0] in _SKELETON:
        values[str(path[0])] = copy.deepcopy(_SKELETON[str(path[0])])


def _placed(tree: Tree, violation: Violation) -> Problem:
    """A problem at the first of the violation's paths that stands in the text."""
    first = violation.paths[0]
    path = next((path for path in violation.paths if path in tree.positions), first)
    is_defaulted = path != first and not violation.hint
    hint = f"{first[-1]} has its default here, set it too" if is_defaulted else violation.hint
    return tree.problem(path, violation.message, hint)

"""Text into a policy, or into every problem it has."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from pydantic import ValidationError

from policies.advice import advice
from policies.conflicts import conflicts
from policies.json_schema import policy_json_schema
from policies.problems import MAX_PROBLEMS, Path, PolicyError, Problem, Violation
from policies.schema import RoutingPolicy
from policies.translate import translated
from policies.yaml_tree import Tree, read_tree

__all__ = ["PolicyError", "Problem", "parse_policy", "parse_with_warnings", "policy_json_schema"]

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
    return _parsed(read_tree(text, source))


def parse_with_warnings(
    text: str | bytes, source: str, tenants_with_keys: Collection[str] | None = None
) -> tuple[RoutingPolicy, tuple[Problem, ...]]:
    """The policy a YAML text describes, and what in it is allowed and yet probably not meant.

    Args:
        text: The file's content.
        source: What to call the file in problems.
        tenants_with_keys: The tenants that API keys belong to; None where that is not known.

    Raises:
        PolicyError: With every problem found in the text.
    """
    tree = read_tree(text, source)
    policy = _parsed(tree)
    placed = [_placed(tree, violation) for violation in advice(policy, tenants_with_keys)]
    return policy, PolicyError(placed).problems


def _parsed(tree: Tree) -> RoutingPolicy:
    policy, violations = _validated(tree)
    problems = [*tree.problems, *(_placed(tree, violation) for violation in violations)]
    if problems or policy is None:
        raise PolicyError(problems)
    return policy


def _validated(tree: Tree) -> tuple[RoutingPolicy | None, list[Violation]]:
    """Validates; where that fails, takes the wrong parts out and looks on, to find every problem at once."""
    values: dict[str, Any] = copy.deepcopy(dict(tree.values))
    incomplete = {step for path in tree.refused for step in path if step in _RULED}
    missing = set(tree.refused)
    found: list[Violation] = []
    for _ in range(_ROUNDS):
        try:
            policy = RoutingPolicy.model_validate(values)
        except ValidationError as error:
            details = error.errors(include_url=False)
            # Of very many the first are told; looking on would only find more.
            violations = [found for one in details[: MAX_PROBLEMS + 1] for found in translated(one)]
            found += _news(violations, incomplete, missing, tree)
            for violation in violations:
                incomplete |= _RULED.intersection(*violation.paths[:1])
                missing.add(_take_out(values, violation.paths[0]))
            if len(found) > MAX_PROBLEMS:
                break
        else:
            found += _news(conflicts(policy), incomplete, missing, tree)
            return policy, found
    return None, found


def _news(
    violations: Iterable[Violation],
    incomplete: AbstractSet[str | int],
    missing: AbstractSet[Path],
    tree: Tree,
) -> Iterator[Violation]:
    """The violations that are not mere consequences of what was refused or taken out."""
    for violation in violations:
        first, *others = violation.paths
        is_moot = bool(others) and any(not incomplete.isdisjoint(path) for path in violation.paths)
        is_moot = is_moot or any(_lies_in(path, missing) for path in others)
        if not is_moot and first not in missing and not _lies_in(first, tree.refused):
            yield violation


def _lies_in(path: Path, places: AbstractSet[Path]) -> bool:
    return any(path[:length] in places for length in range(1, len(path) + 1))


def _take_out(values: dict[str, Any], path: Path) -> Path:
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
    return path


def _placed(tree: Tree, violation: Violation) -> Problem:
    """A problem at the first of the violation's paths that stands in the text."""
    first = violation.paths[0]
    path = next((path for path in violation.paths if path in tree.positions), first)
    is_defaulted = path != first and not violation.hint
    hint = f"{first[-1]} has its default here, set it too" if is_defaulted else violation.hint
    return tree.problem(path, violation.message, hint)

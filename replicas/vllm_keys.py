"""Settings that are passed to vLLM as they stand, compared by name with what the installed vLLM takes.

An engine refuses an unknown one too, but only after a minute of imports, in a pod's log. So that looking is
cheap, the names are read from vLLM's source files, which are not imported.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from replicas.profiles import ModelSpec, Profile


class _Taker(NamedTuple):
    """The classes of vLLM, in one of its files, whose fields are the keys of a setting."""

    file: str
    classes: frozenset[str]


ENGINE: Final = _Taker("engine/arg_utils.py", frozenset({"EngineArgs", "AsyncEngineArgs"}))
SPECULATIVE: Final = _Taker("config/speculative.py", frozenset({"SpeculativeConfig"}))
SERVER: Final = _Taker("entrypoints/launchers/cli_args.py", frozenset({"BaseFrontendArgs", "FrontendArgs"}))


def unknown_keys(profiles: Iterable[Profile], model: ModelSpec) -> Iterator[str]:
    """A line for every key of `engine_args`, `draft_options` and `server_args` that vLLM does not know.

    None where vLLM is not installed, or keeps these settings elsewhere than the version of the locks does.
    """
    yield from _unknown("model.server_args", model.server_args, SERVER)
    for profile in profiles:
        where = f"profiles.{profile.name}"
        yield from _unknown(f"{where}.engine_args", profile.engine_args, ENGINE)
        yield from _unknown(f"{where}.draft_options", profile.draft_options, SPECULATIVE)


def _unknown(where: str, given: Mapping[str, Any], taker: _Taker) -> Iterator[str]:
    known = known_keys(taker) if given else frozenset()
    for key in given:
        if known and key not in known:
            closest = difflib.get_close_matches(key, sorted(known), n=1)
            hint = f"did you mean {closest[0]!r}?" if closest else "leave it out"
            yield f"{where}.{key}: vLLM has no such setting; {hint}"


@cache
def known_keys(taker: _Taker) -> frozenset[str]:
    """The fields of the classes, private ones left out; empty where they are not found."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        return frozenset()
    try:
        tree = ast.parse((Path(spec.origin).parent / taker.file).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return frozenset()
    return frozenset(
        line.target.id
        for found in tree.body
        if isinstance(found, ast.ClassDef) and found.name in taker.classes
        for line in found.body
        if isinstance(line, ast.AnnAssign)
        and isinstance(line.target, ast.Name)
        and not line.target.id.startswith("_")
    )

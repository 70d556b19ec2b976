"""What is compared: methods, their pools on one core, and the k at which each is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.results import BenchError
from bench.serving import policy

PLAIN: Final = "vanilla"
COPYING: Final = ("ngram", "suffix")
WITH_WEIGHTS: Final = ("eagle3", "draft_model", "medusa")
UNDRAFTED: Final = "plain"
"""A second plain engine, of another data type."""
DTYPES: Final = ("float32", "bfloat16", "float16")
PACKAGED: Final = "embedded"
KS: Final = (1, 2, 3, 5)
_DRAFT_COSTS: Final = {"eagle3": 0.1, "medusa": 0.1}
"""Of a draft token, in plain steps of the embedded model: what a router assumes until it has measured it."""


class Arm(NamedTuple):
    """One way to decode a prompt: k draft tokens of this method; plainly by its engine with k 0."""

    method: str
    k: int

    @property
    def name(self) -> str:
        """As journals and tables have it."""
        return f"{self.method} k={self.k}"


@dataclass(frozen=True, slots=True)
class Method:
    """One way to draft: where its weights are (a folder, or `embedded`), and the k it is asked at.

    `dtype` is its engine's, where that is not the plain one's.
    """

    kind: str
    weights: str | None
    ks: Sequence[int]
    dtype: str | None = None

    @property
    def name(self) -> str:
        """Its pool's, and what journals and tables call it."""
        return f"{self.kind}-{self.dtype}" if self.dtype else self.kind

    @property
    def arms(self) -> list[Arm]:
        """One for each k."""
        return [Arm(self.name, k) for k in self.ks]

    def profile(self) -> dict[str, Any]:
        """The pool's, without its core."""
        drafter: dict[str, Any] = {"dtype": self.dtype} if self.dtype else {}
        if self.kind == UNDRAFTED:
            return {"name": self.name, **drafter}
        if self.weights is not None:
            packaged = self.weights == PACKAGED
            drafter["draft_model"] = PACKAGED if packaged else str(Path(self.weights).absolute())
        if self.kind in _DRAFT_COSTS:
            drafter["step_cost"] = {"per_draft_token": _DRAFT_COSTS[self.kind]}
        return {"name": self.name, "method": self.kind, "k": max(self.ks), **drafter}


def parsed(words: Sequence[str], ks: Sequence[int]) -> list[Method]:
    """Methods from words such as `ngram`, `suffix@4` and `eagle3@2,4=FOLDER`; `ks` for those without @.

    A drafter that is a model costs time when nothing is drafted, so of `ks` it is asked with 0 too. With
    `/bfloat16` after its name a method has an engine of that data type: `ngram/bfloat16@4`; `plain/bfloat16`
    is one that drafts nothing.

    Raises:
        BenchError: A method or a data type is unknown, a method is there twice, lacks the folder of its
            weights, or its k is none.
    """
    found: dict[str, Method] = {}
    for word in words:
        asked, _, weights = word.partition("=")
        named, at, own = asked.partition("@")
        name, typed, dtype = named.partition("/")
        if name not in (*COPYING, *WITH_WEIGHTS) and (name != UNDRAFTED or not typed):
            raise BenchError(f"{name}: no method: choose among {', '.join((*COPYING, *WITH_WEIGHTS))}")
        if typed and dtype not in DTYPES:
            raise BenchError(f"{word}: {dtype!r} is no data type: choose among {', '.join(DTYPES)}")
        if named in found:
            raise BenchError(f"{named}: named twice: leave one out")
        if (name in WITH_WEIGHTS) is not bool(weights):
            form = f"{name}=FOLDER, of its weights" if name in WITH_WEIGHTS else f"{name} alone"
            raise BenchError(f"{word}: write {form}")
        if weights and weights != PACKAGED and not (Path(weights) / "config.json").is_file():
            raise BenchError(
                f"{weights}: no drafter's folder (it has no config.json): make one with draft train"
            )
        every = (0, *ks) if name in WITH_WEIGHTS else tuple(ks)
        if name == UNDRAFTED:
            if at:
                raise BenchError(f"{word}: a plain engine drafts nothing: write {named}")
            every = (0,)
        found[named] = Method(name, weights or None, _ks(own, word) if at else every, dtype or None)
    return list(found.values())


def _ks(given: str, word: str) -> tuple[int, ...]:
    """Raises: BenchError."""
    try:
        ks = sorted({int(k) for k in given.split(",")})
    except ValueError:
        ks = []
    if not ks or ks[0] < 0 or ks[-1] < 1:
        raise BenchError(f"{word}: {given!r} is no k: write numbers such as @2,4")
    return tuple(ks)


def deployment(
    methods: Sequence[Method], *, core: int, spec: Mapping[str, Any]
) -> tuple[dict[str, Any], Any]:
    """The deployment's settings and its policy: one engine for each method and a plain one, on one core.

    Engines are asked one at a time, so the one that answers has the core for itself, and all have the same.
    """
    common = {"cpu_cores": [core], "max_num_seqs": 4}
    profiles = [{"name": PLAIN}, *(method.profile() for method in methods)]
    args = {
        "model": {"max_model_len": 4096},
        "profiles": [{**profile, **common} for profile in profiles],
    }
    return args, policy("methods", **spec)

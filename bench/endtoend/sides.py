"""Who is compared. Every side has two engines of the same model, on the same two cores.

All sides run behind the same router and transport, so that they differ in what is decided alone; what the
router itself takes is measured by the overhead bench. A fleet is one deployment with one policy; static k are
one fleet, since a request may choose its k: nothing but the header differs between them. Sides that share
engines ask as tenants of their own, between whom the prefix cache is not shared, so that none finds its
prompts where another left them. Sides that learn have a fleet each, and see nobody else's requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.results import OptionError
from bench.serving import policy

VANILLA: Final = "vanilla"
ADAPTIVE: Final = "adaptive"
COLD: Final = "adaptive-cold"
THRESHOLD: Final = "threshold"
TABLE: Final = "batch-table"
TOPOLOGIES: Final = ("both", "mixed")
COPYING: Final = frozenset({"ngram", "suffix"})

_NOTHING_BY_CHANCE: Final = {"exploration": {"share": 0, "max_share": 0}}
_DAY: Final = {"half_life": "24h"}
_BANDS: Final = {
    True: {"enable_above": 0.30, "disable_below": 0.20},
    False: {"enable_above": 0.60, "disable_below": 0.50},
}
"""For drafters that copy, and for models: what the presets say."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """One deployment with one policy. One that `learns` is warmed up, a `cold` one made anew every time."""

    name: str
    args: Mapping[str, Any]
    policy: Mapping[str, Any]
    learns: bool = False
    cold: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """Who answers, and what its requests say to that end. A `cold` one is measured first thing only."""

    name: str
    fleet: str
    headers: Mapping[str, str] = field(default_factory=dict)
    cold: bool = False


@dataclass(frozen=True, slots=True)
class Drafter:
    """The speculative profile: keys of the deployment's `profiles`, `method` and `k` among them."""

    profile: Mapping[str, Any]

    @property
    def copies(self) -> bool:
        """Whether it copies from the text, which takes next to no time."""
        return self.profile["method"] in COPYING

    @property
    def remembers(self) -> bool:
        """Whether it copies from earlier answers, too: sides that share its engines would help each other."""
        return str(self.profile["method"]) == "suffix"


def chosen_topology(drafter: Drafter, wanted: str | None) -> tuple[str, str]:
    """The engines of the sides that decide, and why.

    k = 0 exists on every pool. A drafter that copies costs nothing there, so both engines may draft, and
    every request has both to go to. A drafter that is a model takes memory and time even at k = 0: one
    engine is kept plain.
    """
    if wanted is not None:
        return wanted, "as asked for"
    if drafter.copies:
        return "both", "the drafter copies: at k = 0 its engine is as fast as a plain one"
    return "mixed", "the drafter is a model: its engine is slower than a plain one even at k = 0"


def sides(ks: Sequence[int], wanted: Sequence[str] = (), *, apart: bool = False) -> list[Side]:
    """The sides with these static k, all or the `wanted` ones; `apart` gives every k engines of its own.

    Raises:
        OptionError: One that does not exist is wanted.
    """
    every = [
        Side(VANILLA, "plain"),
        *(
            Side(
                f"static-k{k}",
                f"static-k{k}" if apart else "static",
                {"X-Specroute-Route": "speculative", "X-Specroute-K": str(k)},
            )
            for k in ks
        ),
        Side(TABLE, "table"),
        Side(THRESHOLD, THRESHOLD),
        Side(ADAPTIVE, ADAPTIVE),
        Side(COLD, COLD, cold=True),
    ]
    known = {side.name: side for side in every}
    for name in wanted:
        if name not in known:
            raise OptionError(f"--sides: {name}: there is none: name some of {', '.join(known)}")
    return [side for side in every if not wanted or side.name in wanted or side.name == VANILLA]


def fleets(
    drafter: Drafter, topology: str, table: Sequence[tuple[int, int, int]], common: Mapping[str, Any]
) -> dict[str, Fleet]:
    """The deployments by name. `common` are further arguments of each, `table` vLLM's by batch size."""
    plain = {"name": "vanilla", "max_num_seqs": drafter.profile.get("max_num_seqs", 16)}
    speculative = {"name": "drafts", **drafter.profile}
    options = {**drafter.profile.get("draft_options", {})}
    options["num_speculative_tokens_per_batch_size"] = [list(entry) for entry in table]
    tabled = {**speculative, "draft_options": options}
    mixed = [plain, speculative] if topology == "mixed" else [{**speculative, "replicas": 2}]
    always = {"mode": "always_speculative", **_NOTHING_BY_CHANCE}
    most = {"k": {"max": int(drafter.profile["k"])}}
    threshold = {"mode": "threshold", "threshold": _BANDS[drafter.copies], "acceptance": _DAY, **most}
    # By mode `engine` no k but the one a request names is chosen, nor one for the whole crowd.
    static = {**always, "k": {"mode": "engine", **most["k"]}}
    adaptive = {"mode": "adaptive", "acceptance": _DAY, "objective": {"min_speedup": 1.02}, **most}

    def args(profiles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {**common, "profiles": list(profiles), "tenancy": {"trusted_header": True}}

    made = [
        Fleet("plain", args([{**plain, "replicas": 2}]), policy("plain", mode="always_vanilla")),
        *(
            Fleet(name, args([{**speculative, "replicas": 2}]), policy("static", **static))
            for name in ("static", *(f"static-k{k}" for k in range(1, int(drafter.profile["k"]) + 1)))
        ),
        Fleet("table", args([{**tabled, "replicas": 2}]), policy("table", **static)),
        Fleet(THRESHOLD, args(mixed), policy(THRESHOLD, **threshold), learns=True),
        Fleet(ADAPTIVE, args(mixed), policy(ADAPTIVE, **adaptive), learns=True),
        Fleet(COLD, args(mixed), policy(ADAPTIVE, **adaptive), cold=True),
    ]
    return {fleet.name: fleet for fleet in made}

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
TOPOLOGIES: Final = ("both", "mixed", "each")
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
    """A speculative profile: keys of the deployment's `profiles`, `method` and `k` among them.

    `name` is what sides, fleets and pools of its own have in their names: none where it is the only one.
    """

    profile: Mapping[str, Any]
    name: str = ""

    @property
    def method(self) -> str:
        """Who drafts."""
        return str(self.profile["method"])

    @property
    def k(self) -> int:
        """Most draft tokens of a step."""
        return int(self.profile["k"])

    @property
    def copies(self) -> bool:
        """Whether it copies from the text, which takes next to no time."""
        return self.method in COPYING

    @property
    def remembers(self) -> bool:
        """Whether it copies from earlier answers, too: sides that share its engines would help each other."""
        return self.method == "suffix"

    @property
    def pool(self) -> str:
        """What its pool is called."""
        return self.name or "drafts"

    def static(self, k: int | None = None) -> str:
        """The static fleet's name, or the name of its side with this k."""
        return "-".join(part for part in ("static", self.name, "" if k is None else f"k{k}") if part)

    def table(self) -> str:
        """The name of the side with vLLM's table."""
        return f"{TABLE}-{self.name}" if self.name else TABLE


def drafters(profiles: Sequence[Mapping[str, Any]]) -> list[Drafter]:
    """The drafters to be compared: one, or two of different methods, which are told apart by them.

    Raises:
        OptionError: There are more, or two of the same method; or one without method or k.
    """
    if not all(isinstance(profile, Mapping) and {"method", "k"} <= profile.keys() for profile in profiles):
        raise OptionError('--profile: write its method and k, like {"method": "ngram", "k": 8}')
    if len(profiles) == 1:
        return [Drafter(profiles[0])]
    found = [Drafter(profile, str(profile["method"]).replace("_", "-")) for profile in profiles]
    if len({drafter.name for drafter in found}) != 2:  # noqa: PLR2004 - every side has two engines
        raise OptionError("--profile: write one, or two of different methods: every side has two engines")
    return found


def chosen_topology(offered: Sequence[Drafter], wanted: str | None) -> tuple[str, str]:
    """The engines of the sides that decide, and why.

    k = 0 exists on every pool. A drafter that copies costs nothing there, so both engines may draft, and
    every request has both to go to. A drafter that is a model takes memory and time even at k = 0: one
    engine is kept plain. Two drafters have one engine each.

    Raises:
        OptionError: What is wanted is for another number of drafters.
    """
    if (len(offered) > 1) != (wanted == "each") and wanted is not None:
        raise OptionError(f"--topology: {wanted}: `each` is for two drafters, the others are for one")
    if len(offered) > 1:
        return "each", "two drafters, each the better one for some tasks"
    if wanted is not None:
        return wanted, "as asked for"
    if offered[0].copies:
        return "both", "the drafter copies: at k = 0 its engine is as fast as a plain one"
    return "mixed", "the drafter is a model: its engine is slower than a plain one even at k = 0"


def sides(offered: Sequence[Drafter], ks: Sequence[int], wanted: Sequence[str] = ()) -> list[Side]:
    """The sides with these static k, as far as a drafter goes to them; all or the `wanted` ones.

    A drafter that remembers gives every k engines of its own.

    Raises:
        OptionError: One that does not exist is wanted.
    """
    every = [
        Side(VANILLA, "plain"),
        *(
            Side(
                drafter.static(k),
                drafter.static(k if drafter.remembers else None),
                {"X-Specroute-Route": "speculative", "X-Specroute-K": str(k)},
            )
            for drafter in offered
            for k in ks
            if k <= drafter.k
        ),
        *(Side(drafter.table(), drafter.table()) for drafter in offered),
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
    offered: Sequence[Drafter],
    topology: str,
    table: Sequence[tuple[int, int, int]],
    common: Mapping[str, Any],
) -> dict[str, Fleet]:
    """The deployments by name. `common` are further arguments of each, `table` vLLM's by batch size."""
    plain = {"name": "vanilla", "max_num_seqs": offered[0].profile.get("max_num_seqs", 16)}
    speculative = [{"name": drafter.pool, **drafter.profile} for drafter in offered]
    deciding = {
        "both": [{**speculative[0], "replicas": 2}],
        "mixed": [plain, speculative[0]],
        "each": speculative,
    }[topology]
    most = {"k": {"max": max(drafter.k for drafter in offered)}}
    band = _BANDS[all(drafter.copies for drafter in offered)]
    threshold = {"mode": "threshold", "threshold": band, "acceptance": _DAY, **most}
    adaptive = {"mode": "adaptive", "acceptance": _DAY, "objective": {"min_speedup": 1.02}, **most}

    def args(profiles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {**common, "profiles": list(profiles), "tenancy": {"trusted_header": True}}

    made = [
        Fleet("plain", args([{**plain, "replicas": 2}]), policy("plain", mode="always_vanilla")),
        Fleet(THRESHOLD, args(deciding), policy(THRESHOLD, **threshold), learns=True),
        Fleet(ADAPTIVE, args(deciding), policy(ADAPTIVE, **adaptive), learns=True),
        Fleet(COLD, args(deciding), policy(ADAPTIVE, **adaptive), cold=True),
    ]
    for drafter, profile in zip(offered, speculative, strict=True):
        # By mode `engine` no k but the one a request names is chosen, nor one for the whole crowd.
        k = {"mode": "engine", "max": drafter.k}
        static = policy("static", mode="always_speculative", **_NOTHING_BY_CHANCE, k=k)
        options = {**drafter.profile.get("draft_options", {})}
        options["num_speculative_tokens_per_batch_size"] = [list(entry) for entry in table]
        tabled = {**profile, "draft_options": options, "replicas": 2}
        made.append(Fleet(drafter.table(), args([tabled]), {**static, "metadata": {"name": "table"}}))
        made += [
            Fleet(name, args([{**profile, "replicas": 2}]), static)
            for name in (drafter.static(), *(drafter.static(k) for k in range(1, drafter.k + 1)))
        ]
    return {fleet.name: fleet for fleet in made}

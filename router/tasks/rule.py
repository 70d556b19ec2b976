"""A rule: one piece of evidence for one task, and the words it looks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from policies.tasks import Task
from router.tasks.features import FIRST_UNSPACED, PREFIXES, Features, Zone


@dataclass(frozen=True, slots=True)
class Phrases:
    """A set of phrases, any of which is a match.

    Attributes:
        spaced: Phrases of up to four words; `^word` only at the start of a sentence; `stem*` for any ending.
        unspaced: Phrases in scripts without spaces, found anywhere in the text.
    """

    spaced: frozenset[str]
    unspaced: tuple[str, ...]

    def matches(self, zone: Zone) -> bool:
        """Whether the zone holds one of the phrases."""
        if not self.spaced.isdisjoint(zone.grams):
            return True
        return zone.unspaced and any(phrase in zone.text for phrase in self.unspaced)


def phrases(text: str) -> Phrases:
    """The phrases of a text, separated by bars: `"write a | ^compose | summar*"`.

    Raises:
        ValueError: A stem that no zone could ever hold.
    """
    all_phrases = [" ".join(part.split()) for part in text.split("|") if part.strip()]
    stems = [len(phrase) - 1 for phrase in all_phrases if phrase.endswith("*")]
    if not all(length in PREFIXES for length in stems) or any(
        "*" in p[:-1] or (" " in p and "*" in p) for p in all_phrases
    ):
        raise ValueError(
            f"A stem is one word of {PREFIXES.start} to {PREFIXES.stop - 1} letters before its star: {text}"
        )
    unspaced = tuple(phrase for phrase in all_phrases if phrase[0] >= FIRST_UNSPACED)
    return Phrases(spaced=frozenset(all_phrases) - frozenset(unspaced), unspaced=unspaced)


@dataclass(frozen=True, slots=True)
class Rule:
    """Evidence of `weight` for `task` when everything given holds.

    Attributes:
        task: The task it speaks for.
        weight: Log-odds: what a match adds to the task's score.
        why: The reason a person would give.
        any_of: Words of which one must be in the instruction (or, for less, in the system prompt or the turns
            before).
        with_any_of: Further words of which one must be there too.
        when: A structural condition on the request.
    """

    task: Task
    weight: float
    why: str
    any_of: Phrases | None = None
    with_any_of: Phrases | None = None
    when: Callable[[Features], bool] | None = None

    def speaks_of(self, zone: Zone) -> bool:
        """Whether the words are in the zone. False for a rule without words."""
        if self.any_of is None or not self.any_of.matches(zone):
            return False
        return self.with_any_of is None or self.with_any_of.matches(zone)

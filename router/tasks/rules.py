"""Weighted rules: explainable line by line, and features of the trained classifier."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from policies.tasks import Task
from router.tasks.features import Features, Zone
from router.tasks.protocol import Classification, RequestText
from router.tasks.rule import Rule
from router.tasks.rules_formal import FORMAL_RULES
from router.tasks.rules_talk import TALK_RULES
from router.tasks.rules_text import TEXT_RULES
from router.tasks.rules_trade import TRADE_RULES

RULES: Final[tuple[Rule, ...]] = (*FORMAL_RULES, *TEXT_RULES, *TALK_RULES, *TRADE_RULES)

SYSTEM_SHARE = 0.5
"""What counts of a rule whose words are in the system prompt only: it tells the trade, the turn the job."""

EARLIER_SHARE = 0.3
"""Of a rule's weight when its words are in earlier turns only."""

OTHER_SCORE = 0.7
"""Score of `other`. A task needs more evidence than this."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A rule that spoke, and the weight it spoke with."""

    rule: Rule
    weight: float


class RuleClassifier:
    """Adds up what the rules say and takes the task with the highest score.

    score(task) = sum of the weights of its rules that match; score(other) = `OTHER_SCORE`. A rule of words
    counts in full in the instruction of the last user turn, for `SYSTEM_SHARE` in the system prompt, for
    `EARLIER_SHARE` in the turns before; only the best place counts. Structure is that of the last turn.

    confidence = exp(score(winner)) / sum over all tasks of exp(score(task)), which depends only on the
    winner's margins over the others: near 1 when they are wide, 1/2 when two tasks tie far above the rest.

    The weights are log-odds: chosen by hand, then moved by a multinomial logistic fit on the training prompts
    that stays near the choice and lets no source of prompts weigh more than 40 rows a task.
    """

    def __init__(self, rules: Sequence[Rule] = RULES) -> None:
        self._rules = tuple(rules)

    def classify(self, request: RequestText) -> Classification:
        """The task with the highest score; ties go to the task whose rules come first."""
        scores = _scores(self.evidence(request))
        winner = max(scores, key=scores.__getitem__)
        total = sum(math.exp(score - scores[winner]) for score in scores.values())
        return Classification(task=winner, confidence=1.0 / total)

    def evidence(self, request: RequestText) -> Iterator[Evidence]:
        """Every rule that matches the request, with its weight: why a task was chosen."""
        features = Features(request)
        for rule in self._rules:
            share = _share(rule, features)
            if share > 0:
                yield Evidence(rule=rule, weight=rule.weight * share)


def shares(features: Features) -> list[float]:
    """For every one of `RULES` how much of its weight counts, from 0 to 1.

    Most rules speak of words that are not there: those that could are looked up by their words.
    """
    request = features.request
    zones = [features.ask]
    if request.system_prompt:
        zones.append(features.system)
    if request.earlier_turns:
        zones.append(features.earlier)
    spoken = frozenset[int]().union(*map(_spoken_of, zones))
    found = [0.0] * len(RULES)
    for number in chain(_WORDLESS, spoken):
        found[number] = _share(RULES[number], features)
    return found


def _spoken_of(zone: Zone) -> frozenset[int]:
    """The numbers of the rules one of whose words is in the zone, and perhaps of others."""
    if zone.unspaced:
        return _ALL
    return frozenset[int]().union(*(_BY_WORD[word] for word in zone.grams & _WORDS))


def _by_word() -> Mapping[str, Sequence[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for number, rule in enumerate(RULES):
        for word in rule.any_of.spaced if rule.any_of is not None else ():
            found[word].append(number)
    return dict(found)


_ALL: Final = frozenset(range(len(RULES)))
_WORDLESS: Final = tuple(number for number, rule in enumerate(RULES) if rule.any_of is None)
_BY_WORD: Final = _by_word()
_WORDS: Final = frozenset(_BY_WORD)


def _share(rule: Rule, features: Features) -> float:
    share = 1.0 if rule.any_of is None else _place_share(rule, features)
    if share > 0 and rule.when is not None and not rule.when(features):
        return 0.0
    return share


def _place_share(rule: Rule, features: Features) -> float:
    if rule.speaks_of(features.ask):
        return 1.0
    if features.request.system_prompt and rule.speaks_of(features.system):
        return SYSTEM_SHARE
    if features.request.earlier_turns and rule.speaks_of(features.earlier):
        return EARLIER_SHARE
    return 0.0


def _scores(evidence: Iterable[Evidence]) -> Mapping[Task, float]:
    scores: dict[Task, float] = defaultdict(float)
    for item in evidence:
        scores[item.rule.task] += item.weight
    scores["other"] = OTHER_SCORE
    return scores

"""Custom tasks by keywords, and classifiers of the operator's own."""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import Any

import pytest

from policies.schema import CustomTask
from router.tasks import Classification, RequestText
from router.tasks.custom import ClassifierSettingError, CustomTasks, PolicyClassifier, load_classifier

pytestmark = pytest.mark.unit


def task(name: str, **when: list[str]) -> CustomTask:
    return CustomTask.model_validate({"name": name, **({"when": when} if when else {})})


def find(last_turn: str, *tasks: CustomTask, system: str = "") -> str | None:
    return CustomTasks(tasks).find(RequestText(last_turn=last_turn, system_prompt=system))


class Fixed:
    """A classifier that always says the same, or raises."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def classify(self, request: RequestText) -> Classification:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found  # type: ignore[no-any-return]


OURS = Classification("qa", 0.6)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Write a HAIKU, please", "verse"),
        ("haikus are long", None),
        ("a  free\nverse on rain", "verse"),
        ("verse that is free", None),
        ("写一首俳句吧", "verse"),
        ("", None),
    ],
)
def test_keywords_are_whole_words_in_any_case(text: str, found: str | None) -> None:
    """Words and phrases match as they are read; scripts without spaces match anywhere."""
    assert find(text, task("verse", keywords_any=["haiku", "free verse", "俳句"])) == found


def test_all_keywords_of_all_and_one_of_any_must_be_there() -> None:
    """The two lists are both conditions."""
    both = task("invoices", keywords_all=["invoice", "vat"], keywords_any=["germany", "austria"])
    assert find("VAT on an invoice to Austria?", both) == "invoices"
    assert find("VAT on an invoice to Spain?", both) is None
    assert find("An invoice to Austria?", both) is None


def test_the_first_task_in_the_file_is_taken() -> None:
    """And the system prompt counts."""
    first, second = task("a", keywords_any=["x-ray"]), task("b", keywords_any=["ray"])
    assert find("look", first, second, system="You read X-ray images.") == "a"
    assert find("a ray of light", first, second) == "b"


def test_a_task_without_words_is_for_hints_only() -> None:
    """It is never found in a text."""
    assert find("poetry poetry", task("poetry")) is None


def test_keywords_win_over_every_classifier_and_follow_the_policy() -> None:
    """The policy is asked at every request, so a new one holds at once."""
    tasks = [task("verse", keywords_any=["haiku"])]
    classifier = PolicyClassifier(Fixed(OURS), custom_tasks=lambda: current[0], own=Fixed(OURS))
    current: list[tuple[CustomTask, ...]] = [tuple(tasks)]
    request = RequestText(last_turn="a haiku")
    assert classifier.classify(request) == Classification("verse", 1.0)
    current[0] = ()
    assert classifier.classify(request) == OURS


def test_the_operators_classifier_is_asked_before_ours() -> None:
    """It may name built-in and custom tasks."""
    mine = Classification("verse", 0.9)
    classifier = PolicyClassifier(Fixed(OURS), custom_tasks=lambda: (task("verse"),), own=Fixed(mine))
    assert classifier.classify(RequestText(last_turn="x")) == mine


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("broken"),
        None,
        ("qa", 1.0),
        Classification("no such task", 0.5),
        Classification("sql", float("nan")),
        Classification("sql", 2.0),
    ],
)
def test_a_failing_classifier_costs_nothing_and_is_logged_once(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Ours answers in its place."""
    classifier = PolicyClassifier(Fixed(OURS), own=Fixed(answer))
    with caplog.at_level(logging.ERROR):
        assert [classifier.classify(RequestText(last_turn="x")) for _ in range(3)] == [OURS] * 3
    assert len(caplog.records) == 1


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `shop_tasks` with a classifier, one that cannot be made, and something else."""
    module = ModuleType("shop_tasks")
    module.Good = type("Good", (), {"classify": lambda _self, _request: OURS})  # type: ignore[attr-defined]
    module.Needy = Fixed  # type: ignore[attr-defined]
    module.Other = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_tasks", module)


@pytest.mark.usefixtures("shop")
def test_a_setting_names_a_class() -> None:
    """It is made without arguments."""
    assert load_classifier("shop_tasks:Good").classify(RequestText()) == OURS


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("shop_tasks", "package.module:ClassName"),
        ("shop_tasks:", "package.module:ClassName"),
        ("no_such_module_here:Good", "cannot be imported"),
        ("shop_tasks:Bad", "has no Bad"),
        ("shop_tasks:Needy", "cannot be made"),
        ("shop_tasks:Other", "no method classify"),
    ],
)
def test_a_setting_that_leads_nowhere_is_explained(setting: str, message: str) -> None:
    """The service does not start with half a classifier."""
    with pytest.raises(ClassifierSettingError, match=message):
        load_classifier(setting)

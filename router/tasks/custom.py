"""Tasks of the operator's own: recognised by keywords, or by a classifier the operator brings."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from policies.schema import CustomTask
from policies.tasks import TASKS
from router.tasks.features import FIRST_UNSPACED
from router.tasks.protocol import Classification, RequestText, TaskClassifier

_log = logging.getLogger(__name__)

_WORD = re.compile(r"\w+|[^\w\s]")


class ClassifierSettingError(ValueError):
    """A `classifier` setting that does not lead to a classifier."""


class CustomTasks:
    """Finds the first custom task whose keywords are in a request.

    Looked at are the last user turn and the system prompt, as they are clipped. A keyword is a word or a
    phrase, whole words in any case; in scripts without spaces it may stand anywhere.
    """

    def __init__(self, tasks: Sequence[CustomTask]) -> None:
        self._rules = tuple(
            (task.name, _plain(when.keywords_any), _plain(when.keywords_all))
            for task in tasks
            if (when := task.when) is not None
        )

    def find(self, request: RequestText) -> str | None:
        """The task's name, or None."""
        if not self._rules:
            return None
        text = _Text.of(f"{request.last_turn}\n{request.system_prompt}")
        for name, any_of, all_of in self._rules:
            if all(text.holds(word) for word in all_of) and (
                not any_of or any(text.holds(word) for word in any_of)
            ):
                return name
        return None


@dataclass(frozen=True, slots=True)
class _Text:
    words: frozenset[str]
    spaced: str

    @classmethod
    def of(cls, text: str) -> _Text:
        found = _WORD.findall(text.lower())
        return cls(frozenset(found), f" {' '.join(found)} ")

    def holds(self, keyword: str) -> bool:
        if keyword >= FIRST_UNSPACED:
            return keyword in self.spaced
        return keyword in self.words if " " not in keyword else f" {keyword} " in self.spaced


def _plain(keywords: Sequence[str]) -> tuple[str, ...]:
    return tuple(" ".join(_WORD.findall(keyword.lower())) for keyword in keywords)


class PolicyClassifier:
    """What the service asks: keywords of custom tasks, then the operator's classifier, then ours.

    Args:
        classifier: Ours; total.
        custom_tasks: The custom tasks of the policy in force, asked for at every request.
        own: The operator's classifier. When it fails, or names a task nobody knows, ours answers; the first
            failure is logged.
    """

    def __init__(
        self,
        classifier: TaskClassifier,
        *,
        custom_tasks: Callable[[], tuple[CustomTask, ...]] = tuple,
        own: TaskClassifier | None = None,
    ) -> None:
        self._classifier = classifier
        self._custom_tasks = custom_tasks
        self._own = own
        self._own_failed = False
        self._compiled: tuple[tuple[CustomTask, ...], CustomTasks] = ((), CustomTasks(()))

    def classify(self, request: RequestText) -> Classification:
        """The task of the request. A keyword's confidence is 1: the operator said so."""
        tasks = self._custom_tasks()
        if tasks is not self._compiled[0]:
            self._compiled = (tasks, CustomTasks(tasks))
        if (name := self._compiled[1].find(request)) is not None:
            return Classification(name, 1.0)
        if self._own is not None and (found := self._ask_own(self._own, request, tasks)) is not None:
            return found
        return self._classifier.classify(request)

    def _ask_own(
        self, own: TaskClassifier, request: RequestText, tasks: Sequence[CustomTask]
    ) -> Classification | None:
        try:
            found = own.classify(request)
            return _checked(found, {*TASKS, *(task.name for task in tasks)})
        except Exception:  # noqa: BLE001 -- code of the operator's must not cost the request
            if not self._own_failed:
                _log.exception("the deployment's classifier failed; the built-in one answers in its place")
                self._own_failed = True
            return None


def load_classifier(setting: str) -> TaskClassifier:
    """The classifier that `package.module:ClassName` names, made without arguments.

    Raises:
        ClassifierSettingError: There is no such class, or it is no classifier.
    """
    module_name, _, class_name = setting.partition(":")
    if not module_name or not class_name.isidentifier():
        raise ClassifierSettingError(f"classifier: {setting!r} does not read package.module:ClassName")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ClassifierSettingError(f"classifier: {module_name} cannot be imported: {error!r}") from error
    made = getattr(module, class_name, None)
    if made is None:
        raise ClassifierSettingError(f"classifier: {module_name} has no {class_name}")
    try:
        classifier = made()
    except Exception as error:
        raise ClassifierSettingError(f"classifier: {setting} cannot be made: {error!r}") from error
    if not callable(getattr(classifier, "classify", None)):
        raise ClassifierSettingError(f"classifier: {setting} has no method classify")
    checked: TaskClassifier = classifier
    return checked


def _checked(found: object, known: Collection[str]) -> Classification:
    if not isinstance(found, Classification):
        raise TypeError(f"expected a Classification, not {type(found).__name__}")
    if found.task not in known:
        raise ValueError(f"unknown task {found.task!r}; known: {', '.join(sorted(known))}")
    if not 0.0 <= found.confidence <= 1.0:
        raise ValueError(f"confidence {found.confidence!r} is not between 0 and 1")
    return found

"""YAML text into nodes with positions: one document, its depth bounded, no alias and no tag followed.

Reads with libyaml where PyYAML has it, thirty times as fast as in Python. What libyaml refuses is read again
in Python, whose errors say more, unless the text is so long that this would take seconds.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from policies.problems import PolicyError, Problem

MAX_DEPTH: Final = 32
ALIAS: Final = "!specroute-alias"
TAGGED: Final = "!specroute-tagged"

_NULL: Final = "tag:yaml.org,2002:null"
_EXPLAINED_CHARACTERS: Final = 64 * 1024
_FAST: Final = getattr(yaml, "CSafeLoader", None)
_RESOLVER: Final[Any] = yaml.resolver.Resolver()


def compose(text: str, source: str) -> yaml.Node:
    """The root node of the one document in a text.

    A node with an explicit tag and an alias are scalar nodes tagged `TAGGED` or `ALIAS` that hold the name.

    Raises:
        PolicyError: The text is no YAML, empty, nested too deep, or several documents.
    """
    if _FAST is not None:
        try:
            return _composed(_Events(_FAST(text)), source)
        except PolicyError:
            raise
        except yaml.MarkedYAMLError as error:
            if len(text) > _EXPLAINED_CHARACTERS:
                raise PolicyError([_syntax_problem(error, source)]) from None
        except (yaml.YAMLError, ValueError):
            pass
    return _explained(text, source)


def _explained(text: str, source: str) -> yaml.Node:
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        return _composed(_Events(loader), source)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"the character U+{error.character:04X} is not allowed"
        raise PolicyError([Problem(source, line, column, "", message)]) from None
    except yaml.MarkedYAMLError as error:
        raise PolicyError([_syntax_problem(error, source)]) from None
    except (ValueError, OverflowError) as error:
        # PyYAML converts escapes such as "\UFFFFFFFF" and directive versions without checking their range.
        if isinstance(error, PolicyError) or loader is None:
            raise
        message = "not valid YAML: a number or an escape is out of range"
        raise PolicyError([_at(source, loader.get_mark(), message)]) from None


class _Events:
    """The events of a loader, and how deep the node is nested that is being made of them."""

    def __init__(self, loader: Any) -> None:  # libyaml's loader has no types
        self._loader = loader
        self.depth = 0

    def next(self) -> Any:
        return self._loader.get_event()


def _composed(events: _Events, source: str) -> yaml.Node:
    events.next()
    first = events.next()
    node = None
    if not isinstance(first, yaml.StreamEndEvent):
        node = _node(events, events.next(), source)
        events.next()
        following = events.next()
        if not isinstance(following, yaml.StreamEndEvent):
            message, hint = "a second document starts here", "keep one policy per file"
            raise PolicyError([_at(source, following.start_mark, message, hint)])
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _NULL):
        raise PolicyError([Problem(source, 1, 1, "", "the file is empty", "start from a preset")])
    return node


def _node(events: _Events, event: Any, source: str) -> yaml.Node:
    # Kinds are compared, not narrowed to: libyaml's events have marks of another type than the stubs know.
    kind = type(event)
    if kind is yaml.AliasEvent:
        return yaml.ScalarNode(ALIAS, event.anchor, event.start_mark, event.end_mark)
    if events.depth >= MAX_DEPTH:
        raise PolicyError([_at(source, event.start_mark, f"nested deeper than {MAX_DEPTH} levels")])
    events.depth += 1
    node: yaml.Node
    if kind is yaml.ScalarEvent:
        text = _whole_characters(event, source)
        tag = _RESOLVER.resolve(yaml.ScalarNode, text, event.implicit)
        node = yaml.ScalarNode(tag, text, event.start_mark, event.end_mark, style=event.style)
    elif kind is yaml.SequenceStartEvent:
        node = _sequence(events, event, source)
    else:
        node = _mapping(events, event, source)
    events.depth -= 1
    if event.tag is not None:
        return yaml.ScalarNode(TAGGED, event.tag, event.start_mark, event.end_mark)
    return node


def _whole_characters(event: Any, source: str) -> str:
    """A scalar's text. JSON escapes a character beyond U+FFFF as two halves, which PyYAML leaves apart."""
    text: str = event.value
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            message = "an escape stands for half of a character"
            hint = "write the character itself"
            raise PolicyError([_at(source, event.start_mark, message, hint)]) from None
    return text


def _sequence(events: _Events, start: Any, source: str) -> yaml.SequenceNode:
    items = []
    event = events.next()
    while type(event) is not yaml.SequenceEndEvent:
        items.append(_node(events, event, source))
        event = events.next()
    end: Any = event.end_mark
    return yaml.SequenceNode("", items, start.start_mark, end, flow_style=start.flow_style)


def _mapping(events: _Events, start: Any, source: str) -> yaml.MappingNode:
    pairs = []
    event = events.next()
    while type(event) is not yaml.MappingEndEvent:
        key = _node(events, event, source)
        pairs.append((key, _node(events, events.next(), source)))
        event = events.next()
    end: Any = event.end_mark
    return yaml.MappingNode("", pairs, start.start_mark, end, flow_style=start.flow_style)


def _syntax_problem(error: yaml.MarkedYAMLError, source: str) -> Problem:
    message = f"not valid YAML: {error.problem or error.context}"
    hint = "indent with spaces, never tabs" if "\\t" in message else ""
    mark = error.problem_mark or error.context_mark
    return _at(source, mark, message, hint) if mark else Problem(source, 1, 1, "", message, hint)


def _at(source: str, mark: Any, message: str, hint: str = "") -> Problem:
    return Problem(source, mark.line + 1, mark.column + 1, "", message, hint)

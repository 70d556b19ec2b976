"""Puts figures into pages: what stands between two marks is made anew from the result files.

    <!-- bench: store -->
    …
    <!-- /bench -->

A mark names a bench, whose results all follow one another, or `gains`. Everything outside the marks is
written by people and stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from bench.report.drafting import COMMANDS
from bench.report.gains import gains
from bench.report.plots import picture
from bench.report.sections import known, section
from bench.results import BenchError, Document, read_all

GAINS: Final = "gains"
_REGION: Final = re.compile(
    r"(?P<open><!-- bench: (?P<name>[a-z-]+) -->\n).*?(?P<close><!-- /bench -->)", re.DOTALL
)


class Links(NamedTuple):
    """How a page refers to the folder of the results, and which of them have a picture there."""

    results: str
    pictures: frozenset[str]


def regenerate(results: Path, pages: Mapping[Path, str], *, check: bool = False) -> list[Path]:
    """Make the pictures beside the results and the marked parts of pages; the files that changed.

    To `check` is to look which would, and to leave them: pages alone, since pictures are drawn a little
    differently by every version of what draws them.

    `pages` says of each how the folder of the results is written in a link from there.

    Raises:
        BenchError: A result or a page cannot be read or written, or a page has no marks.
    """
    documents = {name: found for name, found in read_all(results).items() if known(found)}
    changed = []
    for name, document in ({} if check else documents).items():
        image = picture(document)
        if image is not None and _write(results / f"{name}.svg", image):
            changed.append(results / f"{name}.svg")
    drawn = frozenset(name for name in documents if (results / f"{name}.svg").exists())
    for page, link in pages.items():
        try:
            text = page.read_text(encoding="utf-8")
        except OSError as error:
            raise BenchError(f"{page}: {error.strerror or error}: name a page with --page") from error
        made = filled(page, text, documents, Links(link, drawn))
        if made != text if check else _write(page, made):
            changed.append(page)
    return changed


def filled(page: Path, text: str, documents: Mapping[str, Document], links: Links) -> str:
    """The page's text with its marked parts made of these documents.

    Raises:
        BenchError: It has no marks.
    """
    if not _REGION.search(text):
        raise BenchError(f"{page}: no place for figures: put <!-- bench: NAME --> and <!-- /bench --> there")
    return _REGION.sub(
        lambda mark: f"{mark['open']}{_content(mark['name'], documents, links)}\n{mark['close']}", text
    )


def _content(name: str, documents: Mapping[str, Document], links: Links) -> str:
    if name == GAINS:
        return gains(documents, links.results) or f"Not measured yet: `{COMMANDS['pools']}`."
    found = {file: one for file, one in documents.items() if one["bench"] == name}
    if not found:
        return f"Not measured yet: `{COMMANDS.get(name, f'specroute bench {name}')}`."
    parts = []
    for file, document in found.items():
        heading = [f"### `{file}`"] if len(found) > 1 else []
        shown = f"{links.results}/{file}.svg" if file in links.pictures else None
        parts += [*heading, f"From [{file}.json]({links.results}/{file}.json).", section(document, shown)]
    return "\n\n".join(parts)


def _write(path: Path, text: str) -> bool:
    """Write where something else stands; whether it did."""
    try:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return False
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror or error}: name a folder that can be written") from error
    return True

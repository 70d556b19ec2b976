"""The report in Markdown, and as one page of HTML without outside assets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import resources

from jinja2 import Environment, StrictUndefined

from router.calibrating.document import Results
from router.calibrating.sections import facts, sections
from router.reporting.markdown import table

TITLE = "What drafts are worth"


def markdown(results: Results, pictures: Collection[str] = ()) -> str:
    """The report; its pictures are files beside it, with these names."""
    parts = [f"# {TITLE}", "\n".join(f"- {name}: {value}" for name, value in facts(results))]
    for section in sections(results):
        parts.append(f"## {section.title}")
        parts += section.text
        if section.items:
            parts.append("\n".join(f"- {item}" for item in section.items))
        if section.rows:
            parts.append(table(section.head, section.rows))
        parts += [f"![{about}]({name}.svg)" for name, about in section.plots if name in pictures]
    return "\n\n".join(parts) + "\n"


def page(results: Results, pictures: Mapping[str, str]) -> str:
    """The same with the pictures in it."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = (resources.files("router.calibrating") / "page.html.j2").read_text("utf-8")
    return environment.from_string(source).render(
        title=TITLE, facts=facts(results), sections=list(sections(results)), pictures=pictures
    )

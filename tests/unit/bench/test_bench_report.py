"""Result files and the pages made of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import result_documents
from test_endtoend_figures import run
from typer.testing import CliRunner

from bench.report.gains import gains
from bench.report.page import regenerate
from bench.report.plots import picture
from bench.report.sections import section
from bench.results import SCHEMA, BenchError, read, read_all, write
from router.cli import app

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
BENCHES = ("end-to-end", "overhead", "decision", "store", "scaling", "startup")
PAGE = "Before.\n\n" + "".join(f"<!-- bench: {name} -->\nold\n<!-- /bench -->\n\n" for name in BENCHES)
README = "<!-- bench: gains -->\n<!-- /bench -->\nAfter.\n"


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    return {"end-to-end-ngram": result_documents.end_to_end(run()), **result_documents.others()}


def test_a_result_tells_on_what_it_was_measured(documents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """Machine, versions and schema are in the file, and it is read as it was written."""
    path = write(tmp_path / "new", "store", documents["store"])
    found = read(path)
    assert found == json.loads(json.dumps(documents["store"]))
    assert found["schema"] == SCHEMA
    assert found["machine"]["cores"] >= 1
    assert found["versions"]["numpy"]


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "specroute/bench/v0"}'])
def test_other_files_are_no_results(text: str, tmp_path: Path) -> None:
    """What to do is said."""
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(BenchError, match=r"one\.json.*measure anew"):
        read_all(tmp_path)


@pytest.mark.parametrize("name", ["end-to-end-ngram", *BENCHES[1:]])
def test_every_result_has_a_section(name: str, documents: dict[str, dict[str, Any]]) -> None:
    """With its figures and their intervals."""
    text = section(documents[name])
    assert "Measured 2" in text
    assert "| " in text or "MB" in text
    assert "[" in text


def test_pages_are_made_of_results_alone(documents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """Marked parts are replaced, the rest stays; a second time nothing changes."""
    results = tmp_path / "results"
    for name in ("end-to-end-ngram", "store"):
        write(results, name, documents[name])
    page, readme = tmp_path / "page.md", tmp_path / "README.md"
    page.write_text(PAGE)
    readme.write_text(README)
    pages = {page: "results", readme: "results"}
    changed = regenerate(results, pages)
    assert {page, readme, results / "end-to-end-ngram.svg"} <= set(changed)
    text = page.read_text()
    assert text.startswith("Before.")
    assert "\nold\n" not in text
    assert "(results/end-to-end-ngram.json)" in text
    assert "![end-to-end](results/end-to-end-ngram.svg)" in text
    assert "Not measured yet: `specroute bench startup`" in text
    assert "Not measured yet: `python -m bench.methods.pools`" in readme.read_text()
    assert readme.read_text().endswith("After.\n")
    assert regenerate(results, pages) == []


def test_a_readme_shows_what_drafters_and_router_take_by_task() -> None:
    """Of the result with most tasks, the greatest gain first."""
    rows = [
        {"family": family, "profile": "ngram", "k": 8, "router": [value, value - 0.1, value + 0.1]}
        | {"alone": {"ngram": [value, 0.1, 0.9], "eagle3": [0.75, 0.1, 0.9]}}
        for family, value in (("chat", 0.9), ("rag", 0.6))
    ]
    settings = {"methods": {"ngram": "", "eagle3": "embedded"}}
    pools = {"bench": "pools", "settings": settings}
    text = gains({"few": {**pools, "rows": rows[:1]}, "many": {**pools, "rows": rows}}, "results")
    assert text.splitlines()[2:4] == [
        "| rag | 0.60 [0.10, 0.90] | 0.75 [0.10, 0.90] | 0.60 [0.50, 0.70] | ngram, k=8 |",
        "| chat | 0.90 [0.10, 0.90] | 0.75 [0.10, 0.90] | 0.90 [0.80, 1.00] | ngram, k=8 |",
    ]
    assert text.endswith("From [many.json](results/many.json).")


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    """Without a result a page names the command that makes it."""
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert regenerate(tmp_path, {page: "."}, check=True) == [page]
    assert page.read_text() == PAGE
    regenerate(tmp_path, {page: "."})
    assert "Not measured yet: `specroute bench startup`" in page.read_text()
    page.write_text("Nothing.")
    with pytest.raises(BenchError, match="no place for figures"):
        regenerate(tmp_path, {page: "."})


@pytest.mark.parametrize("name", ["end-to-end-ngram", "overhead", "scaling", "startup"])
def test_pictures_are_the_same_for_the_same_figures(name: str, documents: dict[str, dict[str, Any]]) -> None:
    """No date and no chance is in them."""
    drawn = picture(documents[name])
    assert drawn is not None
    assert drawn.startswith("<svg")
    assert drawn == picture(documents[name])


def test_the_projects_pages_are_made_of_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure of docs/benchmarks.md and README.md was written by hand."""
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["bench", "report", "--check"])
    assert result.exit_code == 0, result.output

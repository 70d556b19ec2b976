"""`specroute report`: from a service and from a decision log, in three forms, and its exit codes."""

import json
import re
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from fakes import Harness
from typer.testing import CliRunner, Result

from policies.off_policy import DecisionRecord
from policies.savings import Cell, LoggedTraffic, Observation, Scope, Sums, observed, report
from router.cli import app
from router.decision_entry import record
from router.reporting.markdown import markdown
from router.reporting.page import page, plot
from router.savings import observation

pytestmark = pytest.mark.unit

ROUTED: dict[str, Any] = {"mode": "threshold", "threshold": {"enable_above": 0.0, "disable_below": 0.0}}
CAPACITY = {
    "status": "from",
    "statement": "From 11 requests at once per engine on, plain decoding alone would be faster.",
    "tasks": [{"task": "code", "status": "from", "batch": 11, "profile": "ngram", "k": 3}],
}


def example(held: int = 200, routed_s: float = 0.7, tenant: str = "acme") -> dict[str, Any]:
    """A report of two tasks, one with too little."""
    cells: dict[Cell, Sums] = {}
    for task, count in (("code", held), ("qa", 3)):
        for group, number, seconds in (("holdout", count, 1.0), ("routed", 19 * count, routed_s)):
            for place in range(number):
                seen = Observation(
                    group,  # type: ignore[arg-type]
                    0.05,
                    speculative=group == "routed",
                    completed=True,
                    tokens=101,
                    decode_s=seconds + 0.01 * (place % 5),
                    completion_s=seconds + 0.2,
                    steps=50,
                    accepted=50,
                )
                cell = Cell(tenant, task, group)  # type: ignore[arg-type]
                cells[cell] = cells.get(cell, Sums()) + Sums.of(seen)
    return report(cells, Scope(86_400.0, 1.7953e9, 1.7953e9 + 86_400, 1.7953e9, 0.05), capacity=CAPACITY)


class Service(BaseHTTPRequestHandler):
    """Answers with what a test wants, and keeps what it was asked."""

    answer: ClassVar[tuple[int, dict[str, Any]]]
    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        status, body = self.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    Service.answer, Service.asked = (200, example()), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, words)])


def test_a_saving_as_markdown(service: str) -> None:
    """The claim, the figures, a row for each task and tenant, the load, and what to mind."""
    done = run("--url", service, "--window", "7d", "--tenant", "acme")
    assert done.exit_code == 0, done.output
    assert parse_qs(urlsplit(Service.asked[0]).query) == {"window": ["7d"], "tenant": ["acme"]}
    text = done.stdout
    assert "**Saved: 3,857 requests decoded in 0.71 of the time that plain decoding would have taken" in text
    assert "- Decode time saved: 19.3 min (" in text
    assert "- Target passes saved: 203,000 of 406,000 (50%); counted, not estimated" in text
    assert "From 11 requests at once per engine on" in text
    rows = [line for line in text.splitlines() if line.startswith(("| code", "| qa", "| acme"))]
    assert len(rows) == 4
    assert "Not enough evidence" in next(row for row in rows if row.startswith("| qa"))
    assert len({len(line) for line in text.split("## Tasks")[1].split("##")[0].split("\n") if line}) == 1


def test_json_is_the_services_answer(service: str) -> None:
    """Unchanged; --format json is the same."""
    first, second = run("--url", service, "--json"), run("--url", service, "--format", "json")
    assert json.loads(first.stdout) == json.loads(second.stdout) == example()
    assert parse_qs(urlsplit(Service.asked[0]).query) == {"window": ["24h"]}


def test_refusing_to_claim_ends_with_1(service: str) -> None:
    """And is printed all the same, in every form; so is a loss."""
    Service.answer = (200, example(20))
    for form in ("markdown", "html", "json"):
        done = run("--url", service, "--format", form)
        assert done.exit_code == 1
        assert "23 requests held out of at least 100" in done.stdout
    Service.answer = (200, example(routed_s=1.2))
    done = run("--url", service)
    assert (done.exit_code, "**Slower: " in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--window", "soon"], 2, "--window: 'soon' is not a duration"),
        (["--url", "nowhere"], 2, "--url: 'nowhere' is no http:// or https:// URL"),
        (["--url", "http://127.0.0.1:9"], 1, "is the service running?"),
        (["left-over.jsonl"], 2, "left-over.jsonl: files are read with --log"),
        (["--log", "missing.jsonl"], 2, "missing.jsonl: No such file or directory"),
        (["--format", "pdf"], 2, "pdf"),
    ],
)
def test_bad_input_is_told_in_a_line(words: list[str], code: int, says: str) -> None:
    """With what to do about it."""
    done = run(*words)
    assert done.exit_code == code
    assert says in done.stderr


def test_a_services_refusal_is_told(service: str) -> None:
    """A bad window is bad input; an old service has no report."""
    error = {"error": {"message": "window: at most 35d are kept", "type": "", "param": "window", "code": 400}}
    Service.answer = (400, error)
    done = run("--url", service, "--window", "99d")
    assert (done.exit_code, done.stderr) == (2, "specroute: window: at most 35d are kept\n")
    Service.answer = (404, {"error": {"message": "no such endpoint"}})
    assert run("--url", service).exit_code == 1


class Page(HTMLParser):
    """What a page refers to, and the tags it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_a_page_stands_alone(service: str, tmp_path: Path) -> None:
    """One file: no scripts, nothing from elsewhere, a plot and a table for tasks and tenants."""
    file = tmp_path / "acme.html"
    done = run("--url", service, "--format", "html", "--output", file)
    assert (done.exit_code, done.stdout) == (0, "")
    text = file.read_text()
    found = Page(text)
    assert not found.references
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert (found.tags.count("svg"), found.tags.count("table")) == (2, 2)
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"url\(|@import", text)
    gone = run("--url", service, "--output", tmp_path / "no" / "where")
    assert (gone.exit_code, "--output: cannot write" in gone.stderr) == (2, True)


def test_names_cannot_break_out() -> None:
    """Neither of the page nor of a table's row, whatever a log says its tenants are called."""
    found = example(tenant="<script>alert(1)</script>|x\n# y")
    assert "<script>" not in page(found)
    assert "&lt;script&gt;" in page(found)
    assert "\\|x # y |" in re.sub(" +", " ", markdown(found))


def test_a_plot_has_every_interval_inside() -> None:
    """Around the line of plain decoding; without figures there is none."""
    claims = [("code", example()["tasks"][0]), ("slow", example(routed_s=1.3)["tasks"][0])]
    drawn = plot(claims)
    assert drawn is not None
    for mark in drawn.marks:
        assert drawn.left <= mark.low <= mark.at <= mark.high <= drawn.right
    assert drawn.marks[0].high < drawn.plain < drawn.marks[1].low
    assert plot([("qa", example()["tasks"][1])]) is None


async def test_a_log_says_what_the_routers_counted(tmp_path: Path) -> None:
    """Every record is seen as its outcome was; the report of the file is that of the sums."""
    harness = await Harness(tmp_path, **ROUTED, holdout={"share": 0.4}, allow_overrides=True).ready()
    for _ in range(40):
        harness.clock.now_s += 10
        await harness.answer()
    lines = [json.dumps(record(outcome, router="r", sample=1.0, digest=str)) for outcome in harness.outcomes]
    records = [DecisionRecord.model_validate_json(line) for line in lines]
    assert [observed(one) for one in records] == [observation(outcome) for outcome in harness.outcomes]
    file = tmp_path / "decisions.jsonl"
    file.write_text("\n".join([*lines, "torn"]))
    done = run("--log", file, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    held = sum(outcome.decision.reason.value == "holdout" for outcome in harness.outcomes)
    assert found["source"] == "log"
    assert (found["overall"]["requests"], found["holdout"]["requests"]) == (40, held)
    assert found["holdout"]["share"] == 0.4
    assert found["overall"]["passes_saved"] == 40 * 5
    assert found["notes"][-1] == "Lines that are no record of version 1: 1."
    assert run("--log", file, file, "--window", "1h").exit_code == 1
    empty = tmp_path / "empty.jsonl"
    empty.write_text("nothing\n")
    done = run("--log", empty)
    assert (done.exit_code, "there are no records of version 1" in done.stderr) == (2, True)


async def test_old_and_sampled_logs_say_what_they_lack(tmp_path: Path) -> None:
    """Lines without the share are in no comparison; a tenth of the requests is a tenth of the seconds."""
    harness = await Harness(tmp_path, **ROUTED, holdout={"share": 0.4}).ready()
    await harness.answer()
    line = record(harness.outcomes[0], router="r", sample=0.1, digest=str)
    line.pop("holdout_share")
    traffic = LoggedTraffic()
    traffic.add(DecisionRecord.model_validate_json(json.dumps(line)))
    found = traffic.report()
    assert found["overall"]["verdict"] == "no_holdout"
    assert "The log has a share of 0.1 of the requests" in found["notes"][0]
    assert "1 records are of an older version" in found["notes"][1]

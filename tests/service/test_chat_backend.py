"""A conversation in a browser: the page, the example's backend, the whole service, two real engines."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from ports import free_port
from waiting import ANSWER_S, until
from whole_service import MODEL, Service

pytestmark = pytest.mark.engine

EXAMPLE = Path(__file__).parents[2] / "examples" / "chat-backend"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
LIMIT_MS = ANSWER_S * 1000
HOSTILE = "<img src=x onerror='window.broken=1'> <script>window.broken=1</script>"
ENDLESS = "Count from 1 to 1000, one number a line, and write every number."
TRIES = 5
WATCH = """
window.lengths = [];
new MutationObserver(() => {
  const answer = document.querySelectorAll(".answer .text")[window.answers];
  const length = answer?.textContent.length ?? 0;
  if (!length || document.querySelector("#log").getAttribute("aria-busy") !== "true") return;
  window.lengths.push(length);
  if (window.stopAfter && length > window.stopAfter) {
    window.stopAfter = 0;
    document.querySelector("#stop").click();
  }
}).observe(document.body, { subtree: true, childList: true, characterData: true });
"""
"""Notes how the answer that comes next grows, and stops it where it is told to."""

if not CHROMIUM:
    pytest.skip("no chromium: install the distribution's package to run these", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def backend(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the chat backend, started as its README says."""
    folder = tmp_path_factory.mktemp("chat")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "CHAT_MODEL": MODEL,
        "CHAT_SPECROUTE_URL": f"{service.url}/v1",
        "CHAT_PORT": str(port),
        "CHAT_SECURE_COOKIE": "false",
        "CHAT_DATABASE": str(folder / "chat.sqlite3"),
        "CHAT_DEADLINE_S": "800",
        "CHAT_ATTEMPTS": "10",
        "CHAT_MAX_ANSWER_TOKENS": "300",
    }
    log = folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "chat_backend"],
            cwd=EXAMPLE,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: process.poll() is not None or httpx.get(f"{url}/readyz").status_code == httpx.codes.OK)
        assert process.poll() is None, log.read_text("utf-8", "replace")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(ANSWER_S) in {0, -signal.SIGTERM}, log.read_text("utf-8", "replace")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Chat:
    """The page, as somebody uses it; notes what it should not do."""

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.url = url
        self.context = browser.new_context(**context)
        self.context.set_default_timeout(LIMIT_MS)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.errors.append(said.text))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def open(self) -> None:
        """Load the page, with all that was said so far."""
        self.page.goto(self.url)
        self._idle()
        self.page.evaluate(WATCH)

    def _idle(self) -> None:
        self.page.wait_for_selector("#model:not(:empty)", state="attached")
        self.page.wait_for_selector("#log[aria-busy=false]", state="attached")

    def ask(self, question: str, *, stop_after_chars: int = 0) -> str:
        """Ask, and wait until the answer has ended; its state."""
        answers = self.page.locator("#log .answer").count()
        self.page.evaluate(
            f"window.lengths = []; window.answers = {answers}; window.stopAfter = {stop_after_chars}"
        )
        self.page.locator("#question").fill(question)
        self.page.keyboard.press("Enter")
        self._idle()
        assert self.page.locator("#log .answer").count() == answers + 1, self.page.inner_text("#status")
        return str(self.page.locator("#log .answer").nth(answers).get_attribute("data-state"))

    @property
    def turns(self) -> list[dict[str, Any]]:
        """As the backend has them stored."""
        found: list[dict[str, Any]] = self.context.request.get(f"{self.url}/api/conversation").json()["turns"]
        return found

    @property
    def shown(self) -> list[str]:
        found: list[str] = self.page.locator("#log .text").evaluate_all(
            "all => all.map(one => one.textContent)"
        )
        return found

    def close(self) -> None:
        """Fails if the page did what it should not."""
        self.context.close()
        assert self.errors == []
        assert self.hosts == {urlsplit(self.url).netloc}


def decision(service: Service, turn: dict[str, Any]) -> dict[str, Any]:
    """What specroute keeps of the request that made this turn, once it has noticed its end."""
    path = f"decisions?request_id={turn['details']['request_id']}"
    until(lambda: service.admin(path)["decisions"])
    (found,) = service.admin(path)["decisions"]
    return dict(found)


def test_a_conversation_in_the_browser(browser: Any, backend: str, service: Service) -> None:
    """It streams, remembers, stops in the engine too, survives a reload, and begins anew."""
    chat = Chat(browser, backend)
    page = chat.page
    chat.open()

    assert chat.ask("Tell me something about the sea, in some sentences.") == "complete"
    lengths = page.evaluate("window.lengths")
    print(f"the answer grew in {len(set(lengths))} steps to {lengths[-1]} characters while it was written")
    assert len(set(lengths)) > 1
    assert sorted(lengths) == lengths
    (first,) = chat.turns
    kept = decision(service, first)
    line = page.locator(".answer .details").inner_text()
    assert first["details"]["route"] in line
    assert (kept["route"], kept["k"], kept["task"]) == tuple(
        first["details"][name] for name in ("route", "k", "task")
    )

    assert chat.ask(f"What does this line do? {HOSTILE}") == "complete"
    _, second = chat.turns
    # The second prompt holds the first one, its answer (whose tokens may be cut otherwise) and the question.
    tokens = first["details"]["prompt_tokens"] + first["details"]["completion_tokens"] // 2
    assert second["details"]["prompt_tokens"] > tokens
    assert page.evaluate("window.broken") is None
    assert page.locator("#log img, #log script").count() == 0

    # A small model may be done before it is stopped; one that is not is stopped in the engine.
    assert any(
        chat.ask(ENDLESS, stop_after_chars=20) == "stopped"
        and decision(service, chat.turns[-1])["result"] == "cancelled"
        for _ in range(TRIES)
    )

    said = [text for turn in chat.turns for text in (turn["question"], turn["answer"])]
    assert chat.shown == said
    chat.open()
    assert chat.shown == said

    page.get_by_role("button", name="New conversation").click()
    page.locator("#empty").wait_for()
    assert chat.shown == []
    assert chat.turns == []
    chat.close()


def test_a_question_that_gets_lost_is_given_back(browser: Any, backend: str) -> None:
    """It is in the box again, with a word on why, and can be sent once more."""
    chat = Chat(browser, backend)
    chat.open()
    question = "Tell me a story about a lighthouse."
    chat.context.route("**/api/questions", lambda route: route.abort())
    chat.page.locator("#question").fill(question)
    chat.page.keyboard.press("Enter")
    chat.page.get_by_text("does not answer. Try again.").wait_for()
    assert chat.page.locator("#question").input_value() == question
    assert chat.shown == []
    chat.context.unroute("**/api/questions")
    chat.ask(question, stop_after_chars=1)
    assert [turn["question"] for turn in chat.turns] == [question]
    chat.errors.clear()  # the browser's own, about what was not fetched
    chat.close()


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 360)], ids=["light", "dark", "phone"]
)
def test_nothing_keeps_anybody_out(browser: Any, backend: str, scheme: str, width: int) -> None:
    """axe-core finds nothing, before and after an answer; nothing is wider than the screen; keys suffice."""
    axe = pytest.importorskip("axe_playwright_python")
    chat = Chat(
        browser, backend, color_scheme=scheme, viewport={"width": width, "height": 700}, bypass_csp=True
    )
    chat.open()
    page = chat.page
    page.evaluate(Path(axe.__file__).with_name("axe.min.js").read_text())
    for _ in range(2):
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert [(one["id"], node["html"]) for one in result["violations"] for node in one["nodes"]] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        chat.ask(f"Tell me a story about {'x' * 300}.", stop_after_chars=1)
        assert page.evaluate("document.activeElement.id") == "question"
    chat.close()

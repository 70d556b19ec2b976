"""The dashboard in a real browser, against a running service with real traffic."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from dashboard_traffic import Background, requests, send
from services import STORE_MS, Service, policy, running
from waiting import until

pytestmark = pytest.mark.integration

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
LIMIT_MS = 180_000
HOSTILE = "<img src=x onerror=window.broken=1>"
SERIOUS = {"serious", "critical"}
VIEWS = ("tasks", "tasks?task=code", "tenants", "policy", "why", "savings")

if not CHROMIUM:
    pytest.skip("no chromium: install the distribution's package to run these", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A fleet of two fake engines that has answered mixed traffic of seven tenants."""
    folder = tmp_path_factory.mktemp("dashboard")
    text = policy("fleet", mode="adaptive", holdout={"share": 0.2})
    with running(folder, text, store={"url": "embedded", "timeout_ms": STORE_MS}) as service:
        wanted = list(requests(150))
        assert send(service.url, wanted) == len(wanted)
        yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Page:
    """A page that notes what it should not do: errors in the console, requests to others."""

    def __init__(self, browser: Any, service: Service, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.context.set_default_timeout(LIMIT_MS)
        self.page = self.context.new_page()
        self.service = service
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _note(self, message: Any) -> None:
        # The browser logs answers of 4xx as errors; those a test asks for are no faults of the page.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def open(self, view: str = "tasks") -> Any:
        """Show a view, once the stream is live."""
        self.page.goto(f"{self.service.url}/dashboard#/{view}")
        self.page.wait_for_selector('#live[data-state="live"]')
        return self.page

    def close(self) -> None:
        """Fails if the page did what it should not."""
        self.context.close()
        assert self.errors == []
        assert self.hosts == {urlsplit(self.service.url).netloc}


@pytest.fixture
def opened(browser: Any, service: Service) -> Iterator[Page]:
    page = Page(browser, service)
    yield page
    page.close()


def shown(page: Any, task: str) -> dict[str, str]:
    """A row of the table of tasks: alpha, requests."""
    row = page.locator(f'table[aria-label="Tasks"] tr[data-key="{task}"]')
    return {
        "alpha": row.locator(".alpha-value").first.inner_text(timeout=LIMIT_MS),
        "requests": row.locator("td.number strong").inner_text(timeout=LIMIT_MS),
    }


def test_figures_are_the_admin_api_s_and_follow_it_live(opened: Page, service: Service) -> None:
    """Alpha of every task as `/admin/v1/alpha` tells it; more requests show without a reload."""
    page = opened.open()
    page.wait_for_selector('tr[data-key="code"] .alpha-value')
    page.evaluate("window.unbroken = true")

    def equal() -> bool:
        rows = service.get("/admin/v1/alpha")["entries"]
        told = {
            row["task"]: f"{row['alpha']:.2f}"
            for row in rows
            if row["tenant"] is None and row["temperature"] is None and row["alpha"] is not None
        }
        return "code" in told and all(shown(page, task)["alpha"] == value for task, value in told.items())

    until(equal)
    before = int(shown(page, "code")["requests"])
    more = list(requests(30, seed=9))
    assert send(service.url, more) == len(more)
    wanted = before + sum(one["body"]["metadata"]["task"] == "code" for one in more)
    until(lambda: int(shown(page, "code")["requests"]) == wanted)
    until(equal)
    assert page.evaluate("window.unbroken") is True
    assert page.locator(".tile[data-name=Requests]").inner_text()


def test_a_decision_is_explained(opened: Page, service: Service) -> None:
    """From the feed to all arms with their scores, in the admin API's own words."""
    page = opened.open()
    page.locator(".feed a").first.click()
    page.wait_for_selector("table.arms tr.chosen")
    request_id = page.locator("#request-id").input_value()
    (one,) = service.get(f"/admin/v1/decisions?request_id={request_id}")["decisions"]
    assert page.locator("p.lead").inner_text() == one["explanation"]
    assert page.locator("table.arms tbody tr").count() == len(one["arms"])
    page.locator("#request-id").fill("nobody")
    page.locator("form.ask button").click()
    page.get_by_text("No decision of that id is kept").wait_for()


def state_of(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.get("/admin/v1/policy")
    return found


def test_a_policy_is_refused_applied_and_rolled_back(opened: Page, service: Service) -> None:
    """Problems name their line; what changes is shown before it is in force; the way back is a click."""
    page = opened.open("policy")
    before = state_of(service)
    text = json.dumps(json.loads(before["text"]), indent=1)
    page.locator("#policy-text").fill(text.replace('"adaptive"', '"adaptiv"'))
    page.get_by_role("button", name="Validate").click()
    problem = page.locator("#policy-problems li").first
    problem.wait_for()
    line = 1 + text[: text.index('"adaptive"')].count("\n")
    assert f"line {line}" in problem.inner_text()
    assert page.locator(".numbers .wrong").inner_text() == str(line)
    page.get_by_role("button", name="Apply…").click()
    page.get_by_text("Refused: 1 problem").wait_for()
    assert state_of(service)["revision"] == before["revision"]

    page.locator("#policy-text").fill(text.replace('"name": "fleet"', '"name": "changed"'))
    page.locator("#policy-author").fill("ann")
    page.locator("#policy-note").fill(HOSTILE)
    page.get_by_role("button", name="Show what changes").click()
    page.locator("#policy-problems .change").first.wait_for()
    page.get_by_role("button", name="Apply…").click()
    page.get_by_role("button", name="Apply on all routers").click()
    until(lambda: state_of(service)["name"] == "changed")
    assert (state_of(service)["author"], state_of(service)["note"]) == ("ann", HOSTILE)
    page.locator(".versions", has_text=HOSTILE).wait_for()
    assert page.evaluate("window.broken") is None

    page.get_by_role("button", name=f"Roll back to version {before['version']}", exact=True).click()
    page.get_by_role("button", name="Roll back", exact=True).click()
    until(lambda: state_of(service)["revision"] == before["revision"])
    page.locator("#policy-label", has_text=before["revision"]).wait_for()


def test_a_change_by_somebody_else_is_not_lost(opened: Page, service: Service) -> None:
    """The text was made from an older revision, so it is not put in force; the edits stay."""
    page = opened.open("policy")
    before = state_of(service)
    page.locator("#policy-label", has_text=before["revision"]).wait_for()
    page.locator("#policy-text").fill(before["text"].replace('"fleet"', '"mine"'))
    theirs = before["text"].replace('"fleet"', '"theirs"')
    httpx.put(
        f"{service.url}/admin/v1/policy", content=theirs, headers={"If-Match": "*"}, timeout=180
    ).raise_for_status()
    page.get_by_role("button", name="Apply…").click()
    page.get_by_role("button", name="Apply on all routers").click()
    page.get_by_text("Not applied").wait_for()
    assert state_of(service)["name"] == "theirs"
    assert '"mine"' in page.locator("#policy-text").input_value()
    httpx.post(f"{service.url}/admin/v1/policy/rollback", timeout=180).raise_for_status()


def test_the_kill_switch(opened: Page, service: Service) -> None:
    """Asks first; then nothing is speculated until it is taken back, which is one click too."""
    page = opened.open("policy")
    before = state_of(service)
    page.get_by_role("button", name="Kill switch…").click()
    page.get_by_role("button", name="Cancel").last.click()
    assert state_of(service)["revision"] == before["revision"]
    page.get_by_role("button", name="Kill switch…").click()
    page.get_by_role("button", name="Turn speculation off").click()
    until(lambda: state_of(service)["note"] == "set-mode always_vanilla")
    page.locator(".banner", has_text="kill switch is on").wait_for()
    page.get_by_role("button", name="Take it back").click()
    page.get_by_role("button", name="Roll back", exact=True).click()
    until(lambda: state_of(service)["revision"] == before["revision"])
    page.locator(".banner").wait_for(state="detached")


def test_tenants_are_searched_and_opened(opened: Page) -> None:
    """By a part of the name; the link shows that tenant's tasks alone."""
    page = opened.open("tenants")
    page.locator("#tenant-search").fill("OBE")
    page.locator('table[aria-label="Tenants"] tbody tr').first.wait_for()
    until(lambda: page.locator('table[aria-label="Tenants"] tbody tr').count() == 1)
    page.get_by_role("link", name="globex").click()
    page.locator(".scope strong", has_text="globex").wait_for()
    until(lambda: set(page.locator(".feed .row > .muted:not(time)").all_inner_texts()) == {"globex"})


def test_hostile_names_stay_text(opened: Page, service: Service) -> None:
    """Tenants, tasks, requests and errors that look like markup are shown as they are, and do nothing."""
    with httpx.stream("GET", f"{service.url}/admin/v1/live", timeout=180) as stream:
        lines = stream.iter_lines()
        state = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
    for row in state["tenants"]["rows"]:
        row["tenant"] = HOSTILE + row["tenant"]
    for one in state["decisions"]:
        one |= {
            "tenant": HOSTILE,
            "task": HOSTILE,
            "explanation": HOSTILE,
            "request_id": f'"{HOSTILE}{one["at"]}',
        }
    for one in state["tasks"]:
        one["task"] = HOSTILE + one["task"]
    state["engines"][0]["last_error"] = HOSTILE
    state["events"] = [
        {"id": 1, "kind": HOSTILE, "at": state["at"], "text": HOSTILE, "bad": True, "task": None}
    ]
    body = f"event: state\ndata: {json.dumps(state)}\n\n"
    opened.context.route(
        "**/admin/v1/live*", lambda route: route.fulfill(body=body, content_type="text/event-stream")
    )
    page = opened.page
    for view in ("tasks", "tenants"):
        page.goto(f"{service.url}/dashboard#/{view}")
        page.get_by_text(HOSTILE).first.wait_for()
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("window.broken") is None


def test_without_the_token_it_is_asked_for(opened: Page) -> None:
    """A page that is refused says so and asks; with the token it goes on by itself."""
    refused = {
        "error": {"message": "the admin API needs its own token", "type": "x", "param": None, "code": 401}
    }

    def answer(route: Any) -> None:
        if route.request.headers.get("authorization") == "Bearer sesame":
            route.continue_()
        else:
            route.fulfill(status=401, json=refused)

    opened.context.route("**/admin/v1/**", answer)
    page = opened.page
    page.goto(f"{opened.service.url}/dashboard")
    page.wait_for_selector('#live[data-state="no token"]')
    page.get_by_text("the admin API needs its own token").wait_for()
    page.locator("#token-input").fill("sesame")
    page.get_by_role("button", name="Use token").click()
    page.wait_for_selector('#live[data-state="live"]')


def test_a_lost_service_is_found_again(opened: Page) -> None:
    """The page says that it reconnects, and is live again without a reload."""
    page = opened.open()
    opened.context.route("**/admin/v1/live*", lambda route: route.abort())
    page.evaluate("location.hash = '#/tasks?window=6h'")  # looks at something else: a new stream
    page.wait_for_selector('#live[data-state="reconnecting"]')
    opened.context.unroute("**/admin/v1/live*")
    page.wait_for_selector('#live[data-state="live"]')
    opened.errors.clear()


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1360), ("dark", 1360), ("light", 390)], ids=["light", "dark", "phone"]
)
def test_nothing_keeps_anybody_out(browser: Any, service: Service, scheme: str, width: int) -> None:
    """axe-core finds nothing serious or critical on any view, and nothing is wider than the screen."""
    axe = pytest.importorskip("axe_playwright_python")
    script = Path(axe.__file__).with_name("axe.min.js").read_text()
    opened = Page(
        browser, service, color_scheme=scheme, viewport={"width": width, "height": 844}, bypass_csp=True
    )
    page = opened.open()
    page.evaluate(script)
    for view in VIEWS:
        page.evaluate(f"location.hash = '#/{view}'")
        page.wait_for_selector('#live[data-state="live"]')
        page.wait_for_selector(f'nav a[aria-current="page"][href^="#/{view.partition("?")[0]}"]')
        until(lambda: page.locator("main [role=status]", has_text="…").count() == 0)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        found = [
            (view, one["id"], node["html"][:200], node["failureSummary"])
            for one in result["violations"]
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]
        assert found == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    opened.close()


def test_all_by_keyboard(opened: Page) -> None:
    """The first stop skips to the content; every view is reached by Tab and Enter, with its focus visible."""
    page = opened.open()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    until(lambda: page.evaluate("document.activeElement.id") == "content")
    assert page.url.endswith("#/tasks")
    page.reload()
    page.wait_for_selector('#live[data-state="live"]')
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Policy":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#policy-text")


def test_a_trend_is_drawn_and_moves(browser: Any, service: Service) -> None:
    """After some samples the chart of a task has a line, and a tip that tells its values."""
    opened = Page(browser, service, viewport={"width": 1360, "height": 900})
    with Background(service.url, at_once=2):
        page = opened.open("tasks?task=code&window=15m")
        page.wait_for_selector("#chart-title + .legend li")
        page.wait_for_selector(".wide .plot canvas")
        label = page.locator(".wide .plot").get_attribute("aria-label")
        assert label is not None
        assert "ngram 0." in label
    opened.close()

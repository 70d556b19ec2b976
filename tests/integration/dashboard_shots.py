"""Makes the screenshots of docs/dashboard.md from a service with fake engines and mixed traffic.

Usage: .venv/bin/python tests/integration/dashboard_shots.py [--minutes 5]

The service and its traffic run for some minutes first, so that charts have something to show; halfway through, drafts of
one task begin to fail.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from dashboard_traffic import Background
from playwright.sync_api import sync_playwright
from services import policy, running

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 300_000
WIDE, PHONE = {"width": 1360, "height": 1180}, {"width": 390, "height": 1180}
SHOTS: dict[str, tuple[str, str, dict[str, int]]] = {
    "dashboard-light": ("tasks?window=15m", "light", WIDE),
    "dashboard-dark": ("tasks?task=code&window=15m", "dark", WIDE),
    "dashboard-phone": ("tasks?window=15m", "light", PHONE),
}


def main() -> None:
    """Serve, send, and look."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="of traffic before the pictures")
    parser.add_argument("--into", type=Path, default=IMAGES, help="the folder to write to")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    text = policy("fleet", mode="adaptive", holdout={"share": 0.1}, exploration={"share": 0.03})
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), text, fake_engines={"step_ms": 8, "prefill_ms": 20}) as service,
        Background(service.url, at_once=5) as traffic,
    ):
        time.sleep(given.minutes * 40)
        traffic.set(code=0.35)
        time.sleep(given.minutes * 20)
        _shoot(service.url, given.into)


def _shoot(url: str, folder: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("no chromium: install the distribution's package")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (view, scheme, size) in SHOTS.items():
            _one(
                browser,
                f"{url}/dashboard#/{view}",
                folder / f"{name}.png",
                color_scheme=scheme,
                viewport=size,
            )
        browser.close()


def _one(browser: Any, address: str, file: Path, **context: Any) -> None:
    page = browser.new_context(reduced_motion="reduce", **context).new_page()
    page.goto(address)
    page.wait_for_selector('#live[data-state="live"]')
    page.wait_for_selector(".wide .plot canvas")
    page.wait_for_timeout(500)
    page.screenshot(path=file)
    size = file.stat().st_size
    print(f"{file.name}: {size:,} bytes")
    if size > MOST_BYTES:
        sys.exit(f"{file.name} is larger than {MOST_BYTES:,} bytes")


if __name__ == "__main__":
    main()

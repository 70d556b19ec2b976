"""Mixed traffic of a small fleet for the dashboard: tasks whose drafts fare differently, tenants of many sizes."""

import random
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import httpx
from services import MODEL

TRUE_ALPHA = {"code": 0.88, "sql": 0.8, "rag": 0.62, "chat": 0.45, "creative": 0.15}
TENANTS = {"acme": 6, "globex": 4, "initech": 3, "umbrella": 2, "hooli": 2, "stark": 1, "wayne": 1}


def requests(count: int, seed: int = 1, alphas: dict[str, float] | None = None) -> Iterator[dict[str, Any]]:
    """Bodies with their tenants, the same for the same seed."""
    rng = random.Random(seed)
    true = {**TRUE_ALPHA, **(alphas or {})}
    for _ in range(count):
        task = rng.choices(list(true), [5, 3, 3, 3, 2])[0]
        yield {
            "tenant": rng.choices(list(TENANTS), list(TENANTS.values()))[0],
            "body": {
                "model": MODEL,
                "messages": [{"role": "user", "content": f"{task} {rng.random():.12f}"}],
                "max_tokens": rng.randint(24, 64),
                "temperature": 0,
                "metadata": {"task": task, "fake_alpha": true[task]},
            },
        }


def send(url: str, wanted: Iterable[dict[str, Any]], *, at_once: int = 6) -> int:
    """Send requests, some at a time; how many were answered."""
    with httpx.Client(base_url=url, timeout=180) as client:

        def one(given: dict[str, Any]) -> bool:
            headers = {"X-Specroute-Tenant": given["tenant"]}
            response = client.post("/v1/chat/completions", json=given["body"], headers=headers)
            return response.status_code == 200

        with ThreadPoolExecutor(at_once) as threads:
            return sum(threads.map(one, wanted))


class Background:
    """Traffic until the block ends."""

    def __init__(
        self, url: str, alphas: dict[str, float] | None = None, *, seed: int = 1, at_once: int = 6
    ) -> None:
        self._url, self._alphas, self._seed, self._at_once = url, alphas or {}, seed, at_once
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(120)

    def set(self, **alphas: float) -> None:
        """Change how likely drafts of tasks are accepted from now on."""
        self._alphas = {**self._alphas, **alphas}

    def _run(self) -> None:
        while not self._ended.is_set():
            self._seed += 1
            try:
                send(self._url, requests(40, self._seed, self._alphas), at_once=self._at_once)
            except httpx.HTTPError:
                time.sleep(0.5)

"""A drop of alpha, simulated, on all its way: the event, the metric, the alert, the mark on the dashboard."""

import re
from pathlib import Path
from random import Random

import pytest
from boards import Board
from fakes import FakePool, Harness, ending, request, state_of, whole
from promtool import Case, check, needs_promtool

from replicas.frames import Ending
from router.dashboard.state import View
from router.drifting import Drifting
from router.telemetry import Metrics
from router.telemetry_alpha import AlphaCollector

pytestmark = pytest.mark.unit

MINUTES = 60
PER_MINUTE = 10
DROP_AT = 40


def answer(rng: Random, alpha: float) -> Ending:
    """What an engine tells of a request whose drafts are accepted with about this probability."""
    of_request = rng.betavariate(12 * alpha, 12 * (1 - alpha))
    accepted = []
    for _ in range(30):
        kept = 0
        while kept < 4 and rng.random() < of_request:
            kept += 1
        accepted.append(kept)
    return ending((4,) * 30, tuple(accepted))


class Service:
    """A router with drift and metrics, and what a Prometheus would have seen of it, minute by minute."""

    def __init__(self, folder: Path) -> None:
        # Of one k, which is what the answers say they were drafted with.
        self.harness = Harness(folder, ngram=FakePool(), k={"mode": "fixed", "default": 4})
        harness = self.harness
        self.metrics = Metrics(state_of(harness), drafting=["ngram"])
        self.metrics.registry.register(
            AlphaCollector(harness.buffer, harness.learning, harness.policies, harness.clock)
        )
        self.dashboard = Board(harness).dashboard
        drifting = Drifting(
            buffer=harness.buffer,
            policies=harness.policies,
            learning=harness.learning,
            hooks=[self.metrics.on_drift, self.dashboard.on_drift],
        )
        harness.service._hooks = (*harness.service._hooks, self.metrics.on_outcome, drifting.on_outcome)
        self.scraped: list[dict[str, str]] = []
        self._rng = Random(1)

    async def minute(self, alpha: float) -> None:
        """Ten requests of one task, then a scrape."""
        for _ in range(PER_MINUTE):
            self.harness.ngram.scripts = [[whole(ending=answer(self._rng, alpha))]]
            self.harness.clock.now_s += 60 / PER_MINUTE
            await self.harness.answer(request({"x-specroute-task": "code"}, temperature=0.0))
        lines = self.metrics.exposition().decode().splitlines()
        self.scraped.append(
            {name: value for name, _, value in (line.rpartition(" ") for line in lines) if name[:1] != "#"}
        )

    def series(self) -> dict[str, str]:
        """All scrapes in promtool's notation."""
        names = dict.fromkeys(name for scrape in self.scraped for name in scrape)
        return {name: " ".join(scrape.get(name, "_") for scrape in self.scraped) for name in names}


@needs_promtool
async def test_a_drop_raises_the_event_the_metric_the_alert_and_the_mark(tmp_path: Path) -> None:
    """From 0.75 to 0.40: nothing before it; after it the counter moves, alpha is lower, the alert fires."""
    service = Service(tmp_path)
    await service.harness.ready()
    for _ in range(DROP_AT):
        await service.minute(0.75)
    for _ in range(MINUTES - DROP_AT):
        await service.minute(0.40)
    fell = 'specroute_drift_events_total{kind="task_fell",profile="ngram",task="code"}'
    alpha = 'specroute_alpha{profile="ngram",task="code"}'
    before, after = service.scraped[DROP_AT - 1], service.scraped[-1]
    assert {name: float(scrape[fell]) for name, scrape in (("before", before), ("after", after))} == {
        "before": 0,
        "after": 1,
    }
    assert float(before[alpha]) > 0.6
    assert float(after[alpha]) < 0.5
    wanted = re.compile(r"specroute_(drift_events|store_up|alpha)")
    series = {name: values for name, values in service.series().items() if wanted.match(name)}
    series["specroute_store_up"] = f"1x{MINUTES}"  # there is no store in this test
    event = ("SpecrouteAlphaFell", {"profile": "ngram", "task": "code", "kind": "task_fell"})
    silent = Case(series, [], at=f"{DROP_AT - 1}m")
    loud = Case(series, [event], at=f"{MINUTES - 1}m")
    check(tmp_path, [silent.document(), loud.document()])
    (mark,) = service.dashboard.state.told(View())["events"]
    assert (mark["kind"], mark["bad"]) == ("drift", True)
    assert "code on ngram fell" in mark["text"]

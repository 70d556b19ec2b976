"""The walk of a request through the service."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from fakes import (
    NGRAM,
    VANILLA,
    FakePool,
    Harness,
    Script,
    ending,
    gone,
    last,
    more,
    opening,
    policy_text,
    request,
    settled,
    whole,
)

from replicas.frames import ReplicaError
from router.errors import ApiError, TooManyRequestsError, UnavailableError
from router.fake_store import FakeStore
from router.outcomes import Outcome
from router.service import Response
from router.stats_sync import StatsSync

pytestmark = pytest.mark.unit


async def test_the_bytes_of_the_engine_pass_untouched(tmp_path: Path) -> None:
    """What the client gets is what the frames held, in order."""
    harness = await Harness(
        tmp_path, ngram=FakePool([opening(b"a"), more(b""), more(b"b"), last(b"c")])
    ).ready()
    response = await harness.service.respond(request(stream=True))
    assert [part async for part in response.body] == [b"a", b"b", b"c"]
    assert response.headers["X-Specroute-Profile"] == "ngram"
    assert response.headers["X-Specroute-Policy"] == harness.policies.label


async def test_a_failure_before_the_first_frame_goes_to_another_pool(tmp_path: Path) -> None:
    """The client notices nothing but the header's reason; the outcome counts the failover."""
    harness = await Harness(tmp_path, ngram=FakePool([gone()])).ready()
    response = await harness.service.respond(request())
    assert response.headers["X-Specroute-Profile"] == "vanilla"
    assert response.headers["X-Specroute-Reason"] == "failover"
    assert b"".join([part async for part in response.body]) == b'{"id":"x"}'
    (outcome,) = harness.outcomes
    assert (outcome.result, outcome.failovers, outcome.decision.profile) == ("completed", 1, "vanilla")
    assert [call.k for call in harness.vanilla.calls] == [0]
    assert harness.idle
    assert [state.available for state in harness.pools] == [True, False]


async def test_the_next_turn_is_sent_home(tmp_path: Path) -> None:
    """To the replica that answered, and after a failover to the new pool without that name."""
    answer = [whole(ending=ending(replica="a1b2"))]
    several = NGRAM.model_copy(update={"replicas": 3})
    harness = Harness(tmp_path, ngram=FakePool(answer, answer, [gone()]), profiles=(VANILLA, several))
    await harness.ready()
    first = [{"role": "user", "content": "hello"}]
    turn = [*first, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "and now?"}]
    await harness.answer(request(messages=first))
    await harness.answer(request(messages=turn))
    assert harness.ngram.homes == ["", "a1b2"]
    await harness.answer(request(messages=turn))
    assert (harness.ngram.homes[2:], harness.vanilla.homes) == (["a1b2"], [""])


async def test_an_empty_answer_goes_to_another_pool(tmp_path: Path) -> None:
    """An engine that ends without a frame has not answered."""
    harness = await Harness(tmp_path, ngram=FakePool([])).ready()
    harness.ngram.scripts = [[], [whole()]]
    assert await harness.answer() == b'{"id":"x"}'
    assert harness.outcomes[0].failovers == 1
    harness.ngram.scripts = harness.vanilla.scripts = [[]]
    with pytest.raises(UnavailableError):
        await harness.answer()
    assert (harness.outcomes[1].result, harness.outcomes[1].status) == ("failed", 503)
    assert harness.idle


async def test_when_all_pools_fail_the_client_is_told_to_retry(tmp_path: Path) -> None:
    """One failover, then 503 with Retry-After; later requests are refused at once."""
    harness = await Harness(tmp_path, vanilla=FakePool([gone()]), ngram=FakePool([gone()])).ready()
    with pytest.raises(UnavailableError) as caught:
        await harness.answer()
    assert caught.value.retry_after_s is not None
    assert [outcome.result for outcome in harness.outcomes] == ["failed"]
    assert harness.outcomes[0].failovers == 1
    assert harness.idle
    with pytest.raises(UnavailableError, match="readyz"):
        await harness.answer()
    assert len(harness.ngram.calls) + len(harness.vanilla.calls) == 2


async def test_a_lone_pool_that_fails(tmp_path: Path) -> None:
    """With nowhere else to go, the failure is the answer."""
    harness = await Harness(tmp_path, ngram=FakePool([gone()])).ready()
    harness.vanilla.status_error = gone()
    await harness.pools.poll()
    with pytest.raises(UnavailableError):
        await harness.answer()
    assert [outcome.result for outcome in harness.outcomes] == ["failed"]
    assert harness.idle


async def test_a_failure_in_the_middle_ends_the_stream_cleanly(tmp_path: Path) -> None:
    """The stream ends with an error object and [DONE], and no second answer is begun elsewhere."""
    harness = await Harness(tmp_path, ngram=FakePool([opening(b"data: 1\n\n"), gone()])).ready()
    body = await harness.answer(request(stream=True))
    events = body.decode().split("\n\n")
    assert events[0] == "data: 1"
    error = json.loads(events[1].removeprefix("data: "))["error"]
    assert (error["code"], error["type"]) == (503, "ServiceUnavailableError")
    assert events[2:] == ["data: [DONE]", ""]
    assert not harness.vanilla.calls


async def test_a_whole_answer_that_broke_off_is_asked_for_again(tmp_path: Path) -> None:
    """Nothing of it was sent, so another pool answers; where none can, half of it is never passed on."""
    broken: Script = [whole(b'{"id', ending=None), gone()]
    harness = await Harness(tmp_path, ngram=FakePool(broken)).ready()
    assert await harness.answer() == b'{"id":"x"}'
    assert (harness.outcomes[0].failovers, harness.outcomes[0].continued) == (1, 0)
    harness.vanilla.scripts = [broken]
    with pytest.raises(UnavailableError):
        await harness.answer()
    assert harness.idle


async def test_a_tenant_over_its_limit_is_told_when_to_come_back(tmp_path: Path) -> None:
    """429 with Retry-After and an outcome of its own; other tenants are not concerned."""
    harness = await Harness(tmp_path, limits={"max_concurrency": 2}).ready()
    tenant = {"x-specroute-tenant": "acme"}
    held = [await harness.service.respond(request(tenant)) for _ in range(2)]
    with pytest.raises(TooManyRequestsError, match="max_concurrency is 2") as caught:
        await harness.answer(request(tenant))
    assert caught.value.headers() == {"Retry-After": "1"}
    assert [(o.result, o.status) for o in harness.outcomes] == [("refused", 429)]
    await harness.answer(request({"x-specroute-tenant": "other"}))
    for response in held:
        await response.body.aclose()
    assert await settled(lambda: harness.idle)
    await harness.answer(request(tenant))
    assert len(harness.outcomes) == 5


async def test_in_flight_counts_follow_the_requests(tmp_path: Path) -> None:
    """While answers run they are counted at their pool; afterwards they are not."""
    release = asyncio.Event()
    harness = await Harness(tmp_path, ngram=FakePool([opening(), release, last()])).ready()
    running = [asyncio.create_task(harness.answer(request(stream=True))) for _ in range(7)]
    assert await settled(lambda: harness.ngram.open == 7)
    assert {state.profile.name: state.in_flight for state in harness.pools} == {"vanilla": 0, "ngram": 7}
    release.set()
    await asyncio.gather(*running)
    assert harness.idle


async def test_a_hook_that_raises_costs_nobody_anything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer and the other hooks are as ever; the log has the failure."""

    def broken(_: Outcome) -> None:
        raise ZeroDivisionError

    harness = await Harness(tmp_path, hooks=[broken]).ready()
    assert await harness.answer() == b'{"id":"x"}'
    assert len(harness.outcomes) == 1
    assert "hook failed" in caplog.text
    assert harness.idle


async def test_an_ending_that_is_not_counted_teaches_nothing(tmp_path: Path) -> None:
    """Requests whose steps are not known completely are completed all the same."""
    harness = await Harness(tmp_path, ngram=FakePool([whole(ending=ending(counted=False))])).ready()
    await harness.answer()
    assert harness.outcomes[0].result == "completed"
    assert harness.learned_requests == 0


async def test_what_is_learned_belongs_to_the_arm_that_answered(tmp_path: Path) -> None:
    """After a failover the evidence counts for the pool and k that made the answer."""
    plain = ending(drafted=(0, 0), accepted=(0, 0))
    harness = await Harness(
        tmp_path, vanilla=FakePool([whole(ending=plain)]), ngram=FakePool([gone()])
    ).ready()
    await harness.answer(request({"x-specroute-tenant": "acme"}, temperature=0))
    assert {(key.profile, key.temperature, key.tenant) for key in harness.buffer} == {
        ("vanilla", "low", None),
        ("vanilla", "low", "acme"),
    }


async def test_details_are_put_where_the_replica_left_room(tmp_path: Path) -> None:
    """The specroute object tells route, k and steps of this very answer."""
    data = b'{"id":"x"}'
    harness = await Harness(tmp_path, ngram=FakePool([whole(data, splice_at=len(data) - 1)])).ready()
    body = json.loads(await harness.answer(request({"x-specroute-details": "1"})))
    assert harness.ngram.calls[0].details
    found = body["specroute"]
    assert (found["route"], found["profile"], found["k"]) == (
        "speculative",
        "ngram",
        harness.ngram.calls[0].k,
    )
    assert (found["steps"], found["drafted"], found["accepted"]) == (3, 10, 5)
    assert found["failovers"] == 0


async def test_an_error_of_the_engine_passes_with_its_status(tmp_path: Path) -> None:
    """The engine's refusal reaches the client as it is, with the headers of the contract."""
    data = b'{"error":{"message":"no"}}'
    harness = await Harness(tmp_path, ngram=FakePool([whole(data, 404, splice_at=len(data) - 1)])).ready()
    response: Response = await harness.service.respond(request({"x-specroute-details": "1"}))
    assert response.status == 404
    assert [part async for part in response.body] == [data]
    assert response.headers["X-Specroute-Route"] == "speculative"


async def test_times_are_measured_with_the_injected_timer(tmp_path: Path) -> None:
    """The time to the first token is that of a stream's first frame; a whole answer has none."""
    harness = await Harness(tmp_path).ready()

    async def slow(pool: FakePool, script: Script, advance_s: float) -> AsyncGenerator[Any, None]:
        for step in script:
            harness.timer.now_s += advance_s
            yield step

    harness.ngram.serve = lambda *_: slow(harness.ngram, [opening(), last()], 0.5)  # type: ignore[method-assign]
    await harness.answer(request(stream=True))
    assert (harness.outcomes[0].ttft_s, harness.outcomes[0].total_s) == (0.5, 1.0)
    harness.ngram.serve = lambda *_: slow(harness.ngram, [whole()], 2.0)  # type: ignore[method-assign]
    await harness.answer(request())
    assert (harness.outcomes[1].ttft_s, harness.outcomes[1].total_s) == (None, 2.0)


async def test_hints_decide_where_the_policy_allows_it(tmp_path: Path) -> None:
    """Route and k of a request are honoured with allow_overrides, and not without it."""
    wish = {"x-specroute-route": "speculative", "x-specroute-k": "3"}
    harness = await Harness(tmp_path, mode="always_vanilla", allow_overrides=True).ready()
    await harness.answer(request(wish))
    assert [call.k for call in harness.ngram.calls] == [3]
    harness.policy_file.write_text(policy_text(mode="always_vanilla"))
    assert harness.policies.reload()
    await harness.answer(request(wish))
    assert [call.k for call in harness.vanilla.calls] == [0]


async def test_the_task_of_a_hint_is_certain(tmp_path: Path) -> None:
    """A named task is taken as it is; otherwise the classifier finds one."""
    harness = await Harness(tmp_path).ready()
    await harness.answer(request({"x-specroute-task": "legal"}))
    await harness.answer(request())
    assert [(o.task, o.confidence == 1.0) for o in harness.outcomes] == [("legal", True), ("code", False)]


async def test_requests_never_wait_for_the_store(tmp_path: Path) -> None:
    """With a flush that hangs in the store, requests are answered and what they showed is kept."""

    class HangingStore(FakeStore):
        entered = asyncio.Event()

        async def add(self, *_: object) -> Any:
            self.entered.set()
            await asyncio.Event().wait()

    harness = await Harness(tmp_path).ready()
    await harness.answer()
    store = HangingStore()
    flush = asyncio.create_task(StatsSync(harness.buffer, store, clock=harness.clock).flush())
    await store.entered.wait()
    await harness.answer()
    assert not flush.done()
    assert harness.learned_requests == 2
    flush.cancel()


async def test_only_the_chosen_pool_is_called(tmp_path: Path) -> None:
    """One dispatch is one call, with the body as it came."""
    harness = await Harness(tmp_path).ready()
    given = request(stream=False)
    await harness.answer(given)
    assert [call.body for call in harness.ngram.calls] == [given.body]
    assert [call.request_id for call in harness.ngram.calls] == [given.request_id]
    assert harness.ngram.calls[0].k <= NGRAM.k
    assert VANILLA.k == 0
    assert not harness.vanilla.calls


async def test_engine_errors_stay_out_of_the_clients_message(tmp_path: Path) -> None:
    """What went wrong inside stands in the outcome, not in the answer."""
    harness = await Harness(
        tmp_path, vanilla=FakePool([ReplicaError("secret path /x")]), ngram=FakePool([gone()])
    ).ready()
    with pytest.raises(ApiError) as caught:
        await harness.answer()
    assert "secret" not in str(caught.value)

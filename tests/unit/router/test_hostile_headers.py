"""Headers of every hint, of others' internals and of single connections, with values near and far from right."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from app_client import client_of
from fakes import CHAT, MESSAGES, Harness
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.tasks import TASKS
from replicas.isolation import salt_of

pytestmark = pytest.mark.unit

EXAMPLES = 1000
BODY = json.dumps({"messages": MESSAGES}).encode()

HINTS = {
    "x-specroute-task": ["code", " Code ", "CODE", "code,sql", "cöde", "", *TASKS],
    "x-specroute-route": ["auto", "vanilla", "speculative", " Vanilla\t", "both", ""],
    "x-specroute-k": ["0", "4", "32", "33", "-1", " 3 ", "1e2", "٣", "0" * 80, "", "0x4"],
    "x-specroute-deadline": ["10s", "1m30s", "5ms", "0s", "-1s", "1e9s", "9" * 80 + "s", "nan", "", "10"],
    "x-specroute-weight": ["1", "0.1", "0", "2", "nan", "1e-400", "9" * 80, "", "0x1"],
    "x-specroute-details": ["0", "1", "true", "yes", ""],
    "x-specroute-tenant": ["acme", "a" * 64, "a" * 65, "../x", "a:b", "", ".", "ä", "anonymous"],
    "x-request-id": ["r1", "a b", "x" * 64, "x" * 65, "\t", "", "ü"],
    "authorization": ["Bearer x", "Basic eDp5", "bearer", ""],
}
OTHERS = (
    *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-authorization"),
    *(
        "proxy-connection",
        "x-vllm-priority",
        "x-data-parallel-rank",
        "x-specroute-profile",
        "x-specroute-reason",
    ),
    *("x-specroute-policy", "x-specroute-canary", "cache-salt", "serve-multiplexed-model-id", "traceparent"),
    *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "expect", "content-encoding", "cookie"),
)
TEXTS = st.binary(max_size=30).filter(lambda value: not set(value) & {0, 10, 13})
HEADERS = st.lists(
    st.one_of(
        *(
            st.tuples(st.just(name), st.sampled_from([value.encode() for value in values]) | TEXTS)
            for name, values in HINTS.items()
        ),
        st.tuples(
            st.sampled_from(OTHERS),
            st.sampled_from([b"close", b"x-specroute-tenant", b"chunked", b"1", b"h2c"]) | TEXTS,
        ),
    ),
    max_size=8,
)
ANSWERED_WITH = {
    *("content-length", "content-type", "x-specroute-route", "x-specroute-k", "x-specroute-task"),
    *("x-specroute-profile", "x-specroute-reason", "x-specroute-policy"),
}


def test_no_header_is_a_server_error_or_reaches_an_engine(
    tmp_path_factory: pytest.TempPathFactory, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """A request is answered or refused for its hint; the engine gets the body, an arm and the tenant's salt."""
    folder: Path = tmp_path_factory.mktemp("headers")
    seen: Counter[int] = Counter()
    with asyncio.Runner() as runner:
        harness = runner.run(Harness(folder, allow_overrides=True).ready())
        client = client_of(harness)

        async def asked(headers: list[tuple[str, bytes]]) -> httpx.Response:
            raw = [(name.encode(), value) for name, value in [*headers, ("host", b"127.0.0.1")]]
            return await client.send(
                httpx.Request("POST", f"http://127.0.0.1{CHAT}", headers=raw, content=BODY)
            )

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(headers=HEADERS)
        def run(headers: list[tuple[str, bytes]]) -> None:
            harness.clock.now_s += 1
            for pool in (harness.vanilla, harness.ngram):
                pool.calls.clear()
            response = runner.run(asked(headers))
            seen[response.status_code] += 1
            calls = harness.vanilla.calls + harness.ngram.calls
            assert response.status_code in {200, 400, 401, 403, 504}, response.text
            if response.status_code != 200:
                assert response.json()["error"]["message"]
                assert not calls or response.status_code == 504
                return
            (call,) = calls
            assert call.body == BODY
            assert 0 <= call.k <= 32
            assert call.request_id.isprintable()
            assert call.cache_salt == salt_of(harness.outcomes[-1].request.tenant)
            assert response.headers.keys() <= ANSWERED_WITH
            assert all(value.isprintable() for value in response.headers.values())
            assert harness.idle

        run()
    tried = sum(seen.values())
    print(f"{tried} requests with any headers: {dict(sorted(seen.items()))}")
    record_testsuite_property("header_inputs", tried)
    assert tried >= EXAMPLES
    assert {200, 400} <= seen.keys()

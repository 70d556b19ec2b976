"""Whatever happens to the store: traffic goes on, nothing is counted twice, and nothing that could be kept is lost."""

import time
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from redis import Redis
from services import free_port
from store_faults import FAULTS, Site, site
from waiting import until_async

from router.breaker import BreakerSettings, BreakerState
from router.valkey import EmbeddedValkey

pytestmark = pytest.mark.integration

SILENT = {"lost", "slow", "black holed", "restarted"}
UNAVAILABLE = httpx.codes.SERVICE_UNAVAILABLE


async def during(found: Site, name: str) -> None:
    """What holds while the store does not take part."""
    before = found.router.parts.policies.state.version
    await until_async(lambda: not found.store_up)
    for key in found.buffer:
        found.router.parts.buffer.cut(key, 0.5)
    await found.traffic(1.0)
    alpha = await found.alpha()
    assert not alpha["store_up"]
    assert alpha["store_age_s"] > 0
    assert found.local() == found.sent
    assert (await found.preferences())["threshold"]["enable_above"] == 0.7
    assert found.router.parts.policies.state.version == before
    for refused in (await found.put_preferences(0.6), await found.put_policy("meanwhile")):
        assert refused.status_code == UNAVAILABLE, (name, refused.text)
        assert int(refused.headers["Retry-After"]) > 0
    assert len(found.router.parts.buffer._pending) <= 4


async def after(found: Site) -> None:
    """What holds once the store is back."""
    await found.traffic(0.2)
    await found.settled()
    await until_async(lambda: found.local() == found.sent)
    assert found.stored() == found.local() == found.sent


async def preferred(found: Site, above: float) -> None:
    """The tenant's own threshold is set, once the store answers in time."""

    async def put() -> bool:
        return (await found.put_preferences(above)).status_code == httpx.codes.OK

    await until_async(put)


@pytest.mark.parametrize("name", FAULTS)
async def test_an_outage_in_the_middle_of_traffic(name: str, tmp_path: Path) -> None:
    """Answers, totals, canary counts, cuts, preferences and policy: all as if nothing had happened."""
    async with site(tmp_path) as found:
        await preferred(found, 0.7)
        await found.traffic(0.3)
        await until_async(lambda: found.stored() == found.sent)
        async with FAULTS[name](found):
            await during(found, name)
        await after(found)
        await until_async(lambda: found.stored_canary() >= found.compared)
        assert found.stored_canary() == found.compared
        await until_async(lambda: found.epochs() == {1})
        assert (await found.preferences())["threshold"]["enable_above"] == 0.7
        await until_async(lambda: found.router.parts.policy_sync.store_up)
        await preferred(found, 0.6)

        async def put_policy() -> bool:
            return (await found.put_policy("before")).status_code == httpx.codes.OK

        await until_async(put_policy)


async def test_a_store_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    """The router serves by its file and by what it sees; the store gets everything when it comes."""
    async with site(tmp_path, present=False) as found:
        await found.traffic(0.5)
        alpha = await found.alpha()
        assert (alpha["store_up"], alpha["store_age_s"]) == (False, None)
        assert found.local() == found.sent
        assert not found.canary_runs
        await found.proxy.listen()
        await after(found)
        await until_async(lambda: found.canary_runs)
        await until_async(lambda: found.raw.hget("specroute:{smollm2-135m-instruct}:v1:policy", "revision"))


async def test_a_flushed_store(tmp_path: Path) -> None:
    """It starts anew with what was not yet told; the policy is put back; its word on preferences stands."""
    async with site(tmp_path) as found:
        await preferred(found, 0.7)
        await found.traffic(0.3)
        await until_async(lambda: found.stored() == found.sent)
        revision = found.router.parts.policies.state.revision
        found.raw.flushall()
        found.sent = 0
        await after(found)
        await until_async(
            lambda: found.raw.hget("specroute:{smollm2-135m-instruct}:v1:policy", "revision") == revision
        )
        await until_async(lambda: found.router.parts.tenants.preferences.get("acme") is None)


async def replica_of(found: Site, folder: Path) -> EmbeddedValkey:
    """A server that has all of the first one's data and follows it."""
    port = found.proxy.port
    while port == found.proxy.port:
        port = free_port()
    found.raw.config_set("bind", "127.0.0.1")
    found.raw.config_set("port", port)
    replica = EmbeddedValkey(folder / "replica")
    replica.start()
    raw = Redis.from_url(replica.url, decode_responses=True)
    raw.config_set("repl-diskless-load", "disabled")
    found.raw.config_set("repl-diskless-sync-delay", "0")
    raw.replicaof("127.0.0.1", str(port))

    def follows() -> bool:
        told = raw.info("replication")
        return bool(told["master_link_status"] == "up" and not told["master_sync_in_progress"])

    await until_async(follows)
    return replica


async def test_a_failover_to_a_replica_that_lags(tmp_path: Path) -> None:
    """What the replica never saw is lost, that and no more; routers believe the new primary."""
    async with site(tmp_path) as found:
        replica = await replica_of(found, tmp_path)
        try:
            raw = Redis.from_url(replica.url, decode_responses=True)
            await found.traffic(0.3)
            await found.settled()
            await until_async(lambda: at(raw) >= at(found.raw))
            raw.replicaof("NO", "ONE")
            before = found.sent
            await found.traffic(0.4, ("sql", "code"))  # acknowledged by a primary whose replica is cut off
            await found.settled()
            window = found.sent - before
            assert window > 0
            await found.proxy.vanish()
            await found.traffic(0.3)
            old = found.server
            found.use(replica)
            await found.proxy.listen()
            found.sent -= window
            await after(found)
            assert not any(key.task == "sql" for key in found.buffer)
            old.stop()
        finally:
            replica.stop()


async def test_a_primary_that_was_demoted_behind_open_connections(tmp_path: Path) -> None:
    """Nothing breaks the connections to the old primary; being refused, the router looks for the new one."""
    async with site(tmp_path) as found:
        replica = await replica_of(found, tmp_path)
        try:
            await found.traffic(0.3)
            await found.settled()
            raw, old, old_raw = Redis.from_url(replica.url), found.server, found.raw
            await until_async(lambda: at(raw) >= at(old_raw))
            raw.replicaof("NO", "ONE")
            old_raw.replicaof("127.0.0.1", "1")
            found.use(replica)
            await after(found)
            old.stop()
        finally:
            replica.stop()


def at(raw: Redis) -> int:
    """How far a server's replication is."""
    told = raw.info("replication")
    return int(told.get("slave_repl_offset", told["master_repl_offset"]))


async def test_a_breaker_lets_single_probes_through(tmp_path: Path) -> None:
    """A store in a black hole is asked less and less often, by one call at a time, and found again after."""
    async with site(tmp_path) as found:
        connection = found.router.store
        breaker = connection._breaker
        allow, probes_s, refused = breaker.allow, [], 0

        def noted() -> bool:
            nonlocal refused
            probing, allowed = breaker.state is not BreakerState.CLOSED, allow()
            refused += not allowed
            if probing and allowed:
                probes_s.append(time.monotonic())
            return allowed

        breaker.allow = noted
        found.proxy.mode = "black hole"
        await until_async(lambda: len(probes_s) >= 3)
        # Pauses are never shorter than they were set, however late somebody asks.
        pauses_s = [after_s - before_s for before_s, after_s in pairwise(probes_s)]
        first_s = BreakerSettings().first_pause_s
        assert all(pause_s > 0.99 * first_s * 2 ** (n + 1) for n, pause_s in enumerate(pauses_s[:2]))
        assert refused > 0
        found.proxy.mode = "forward"
        await after(found)

"""One fault of the store after the other, in a random order, under traffic that never stops."""

import asyncio
import json
from pathlib import Path
from random import Random

import pytest
from scenario_table import ROWS, Row
from store_faults import FAULTS, site
from waiting import until_async

pytestmark = pytest.mark.chaos

ROUNDS = 20


async def test_totals_are_exact_after_every_fault_there_is(tmp_path: Path) -> None:
    """Every request is answered, and counted once in the store, in the router and in the canary's trial."""
    rng = Random(1)
    names = [rng.choice(list(FAULTS)) for _ in range(ROUNDS)]
    async with site(tmp_path) as found:
        over = asyncio.Event()

        async def client() -> None:
            while not over.is_set():
                await found.traffic(0.1)

        clients = [asyncio.create_task(client()) for _ in range(4)]
        for name in names:
            async with FAULTS[name](found):
                await asyncio.sleep(rng.uniform(0.1, 3.0))
            await asyncio.sleep(rng.uniform(0.1, 3.0))
        over.set()
        await asyncio.gather(*clients)
        await found.settled()
        await until_async(lambda: found.stored_canary() >= found.compared)
        print(json.dumps({"requests": found.sent, "faults": names}))
        ROWS.append(Row(f"store: {ROUNDS} faults", "fake", found.sent, failed=0))
        assert found.stored() == found.local() == found.sent
        assert found.stored_canary() == found.compared

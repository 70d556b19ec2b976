"""Changing the policy of a running service with two routers on one Valkey.

The 2 s within which the contract has a change in force are measured and printed, not judged.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from services import PATIENTLY, policy
from two_routers import POLICY, ROUTERS, TwoRouters
from waiting import ANSWER_S, until

pytestmark = pytest.mark.integration


@contextmanager
def traffic(shared: TwoRouters) -> Iterator[list[int]]:
    """Requests one after the other while the body runs; the statuses they got."""
    statuses: list[int] = []
    stop = False

    def ask() -> None:
        while not stop:
            statuses.append(shared.complete(max_tokens=2).status_code)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield statuses
        finally:
            stop = True
            asking.result()


@pytest.fixture(scope="module")
def shared(two_routers: TwoRouters) -> TwoRouters:
    """Two routers over fake engines."""
    return two_routers.mounted("first")


def test_a_put_is_in_force_on_both_routers(shared: TwoRouters) -> None:
    """Both report it, and every request is decided by it."""
    times = []
    for number in range(3):
        state = shared.state()
        assert shared.put(policy(f"put{number}"), f'"{state["revision"]}"').status_code == 200
        times.append(until(lambda: shared.everywhere(f"put{number}"), every_s=0.01))  # noqa: B023
    assert shared.answered_by() == {"put2"}
    print(f"a PUT in force on both routers after {', '.join(f'{took:.2f}' for took in sorted(times))} s")


def test_a_stale_condition_and_a_broken_policy_change_nothing(shared: TwoRouters) -> None:
    """412 names what there is, 422 every problem with its place, 428 what is missing."""
    shared.publish("kept")
    stale = shared.put(policy("lost"), '"000000000000"')
    assert (stale.status_code, "kept@" in stale.text) == (412, True)
    broken = shared.put(policy("broken", mood="bad", k={"max": "many"}))
    assert broken.status_code == 422
    assert {problem["path"] for problem in broken.json()["problems"]} >= {"spec.mood", "spec.k.max"}
    assert all(problem["line"] == 1 and problem["column"] > 1 for problem in broken.json()["problems"])
    unconditional = httpx.put(f"{shared.service.url}{POLICY}", content=policy("x"), timeout=ANSWER_S)
    assert unconditional.status_code == 428
    assert shared.everywhere("kept")


def test_of_concurrent_puts_one_wins(shared: TwoRouters) -> None:
    """Whichever routers they reach; the others are told that they lost, and all routers follow the winner."""
    revision = shared.state()["revision"]
    for attempt in range(3):
        with ThreadPoolExecutor(6) as operators:
            answers = list(
                operators.map(
                    lambda number: shared.put(policy(f"op{attempt}{number}"), f'"{revision}"'),  # noqa: B023
                    range(6),
                )
            )
        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5
        (winner,) = (answer.json() for answer in answers if answer.status_code == 200)
        until(lambda: shared.everywhere(winner["name"]))  # noqa: B023
        revision = winner["revision"]


def test_rolling_back(shared: TwoRouters) -> None:
    """To the version before, by command; the history says who and why."""
    shared.publish("good")
    shared.publish("bad")
    done = shared.command("rollback", "--note", "too slow", *PATIENTLY)
    assert done.returncode == 0, done.stderr
    until(lambda: shared.everywhere("good"))
    newest = shared.state()["history"][0]
    assert (newest["origin"], newest["name"], newest["note"]) == ("rollback", "good", "too slow")
    listed = shared.command("history")
    assert "too slow" in listed.stdout


def test_the_kill_switch(shared: TwoRouters) -> None:
    """One value changes, every router serves plainly, and the command says after how long."""
    spec = "spec:\n  # how\n  mode: always_speculative   # for now\n"
    text = f"apiVersion: specroute/v1\nkind: RoutingPolicy\nmetadata: {{name: fast}}\n{spec}"
    times = []
    for _ in range(2):
        until(lambda: shared.put(text).status_code == httpx.codes.OK)
        until(lambda: shared.everywhere("fast"))
        began_s = time.monotonic()
        done = shared.command("set-mode", "always_vanilla", "--json", *PATIENTLY)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["routers"], told["waiting_for"]) == (ROUTERS, [])
        assert shared.state()["text"] == text.replace("always_speculative", "always_vanilla")
        times.append((told["in_force_s"], time.monotonic() - began_s))
    for _ in range(10):
        assert shared.complete(max_tokens=4).headers["x-specroute-route"] == "vanilla"
    print("kill switch, in force on all routers (whole command):")
    print(", ".join(f"{in_force:.2f} s ({whole:.2f} s)" for in_force, whole in sorted(times)))


def test_a_config_map_is_swapped(shared: TwoRouters) -> None:
    """Both routers mount it: one version is published, and nothing flaps while requests go on."""
    before = len(shared.state()["history"])
    with traffic(shared) as statuses:
        shared.swap(policy("mounted"))
        took_s = until(lambda: shared.everywhere("mounted"))
    print(f"a swapped ConfigMap in force on both routers after {took_s:.2f} s")
    state = shared.state()
    assert [version["name"] for version in state["history"]][:2] != ["mounted", "mounted"]
    assert len(state["history"]) == min(before + 1, 20)
    assert state["origin"] == "file"
    until(lambda: shared.state()["file"]["in_force"])
    assert set(statuses) == {200}


def test_a_flushed_store_gets_the_policy_back(shared: TwoRouters) -> None:
    """The routers publish what is in force, once."""
    shared.publish("flushed")
    shared.redis().flushall()
    until(lambda: shared.names() == ["flushed"])
    until(lambda: shared.everywhere("flushed"))
    time.sleep(1)  # whatever would publish it again
    assert shared.names() == ["flushed"]


def test_an_outage_of_the_store(shared: TwoRouters) -> None:
    """Requests go on, a PUT is told what to do instead, a file acts at once, and is shared afterwards."""
    shared.publish("before")
    with traffic(shared) as statuses:
        shared.stop_store()
        refused = shared.put(policy("lost"))
        assert refused.status_code == 503
        assert "change the policy file" in refused.json()["error"]["message"]
        shared.swap(policy("meanwhile"))
        until(lambda: shared.answered_by() == {"meanwhile"})
        shared.start_store()
        took_s = until(lambda: shared.everywhere("meanwhile"))
    print(f"the store is used again {took_s:.2f} s after its start")
    assert set(statuses) == {200}
    assert shared.names()[:2] == ["meanwhile", "before"]


def test_what_was_put_is_kept_by_a_router_that_starts_again(shared: TwoRouters) -> None:
    """A router that is killed is started again by Serve, and begins with what the others have."""
    shared.publish("put")
    shared.replace(1)
    until(lambda: shared.everywhere("put") and shared.names()[0] == "put")

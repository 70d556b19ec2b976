"""What tenants set for themselves: in memory, in the store, and between routers."""

import asyncio
import json
import logging
from contextlib import suppress

import pytest

from policies.preferences import Preferences, parse_preferences
from router.errors import ApiError, UnavailableError
from router.preference_store import FakePreferenceStore, Written
from router.preferences import TenantPreferences

pytestmark = pytest.mark.unit

EAGER = parse_preferences({"threshold": {"enable_above": 0.5}})
STRICT = parse_preferences({"threshold": {"enable_above": 0.9}, "tasks": {"code": {"mode": "threshold"}}})


def router_on(store: FakePreferenceStore, most: int = 10) -> TenantPreferences:
    """The preferences of one more router."""
    kept = TenantPreferences(most=most)
    kept.attach(store)
    return kept


async def refusal(kept: TenantPreferences, given: Preferences, if_match: str | None = None) -> ApiError:
    """The error of a change that must be refused."""
    with pytest.raises(ApiError) as caught:
        await kept.change("acme", given, if_match=if_match)
    assert "\n" not in str(caught.value)
    return caught.value


async def test_a_change_holds_here_at_once_and_elsewhere_with_the_next_look() -> None:
    """Both routers then have the same preferences under the same entity tag."""
    store = FakePreferenceStore()
    here, there = router_on(store), router_on(store)
    assert here.get("acme") is None
    await here.change("acme", STRICT)
    assert here.get("acme") == STRICT
    assert there.get("acme") is None
    assert await there.refresh()
    assert there.get("acme") == STRICT
    assert there.etag("acme") == here.etag("acme") != there.etag("beta")
    assert there.written("acme") == STRICT.written()
    assert there.state() == {"acme": STRICT.written()}


async def test_what_was_set_is_found_after_a_restart_and_can_be_taken_back() -> None:
    """Empty preferences leave nothing behind."""
    store = FakePreferenceStore()
    await router_on(store).change("acme", EAGER)
    kept = router_on(store)
    await kept.refresh()
    assert kept.get("acme") == EAGER
    await kept.change("acme", Preferences())
    assert kept.get("acme") is None
    assert kept.written("acme") == {}
    assert store.texts == {}


async def test_concurrent_edits() -> None:
    """If-Match names what the writer has seen: who comes second is told, and who looks again may write."""
    store = FakePreferenceStore()
    here, there = router_on(store), router_on(store)
    seen = here.etag("acme")
    await here.change("acme", EAGER, if_match=seen)
    assert (await refusal(there, STRICT, seen)).http_status == 412
    assert there.get("acme") == EAGER
    await there.change("acme", STRICT, if_match=f'"other", {there.etag("acme")}')
    assert (await refusal(here, EAGER, f"W/{there.etag('acme')}")).http_status == 412
    await here.change("acme", EAGER, if_match="*")
    await here.change("acme", STRICT)
    assert here.get("acme") == STRICT


async def test_a_write_between_look_and_write_is_noticed() -> None:
    """With If-Match it is refused; without, the last writer wins."""
    rivals = ['{"mode":"threshold"}']

    class Contested(FakePreferenceStore):
        async def write_preferences(self, tenant: str, text: str, *, expected: str, most: int) -> Written:
            if rivals:
                await super().write_preferences(tenant, rivals.pop(), expected=expected, most=most)
            return await super().write_preferences(tenant, text, expected=expected, most=most)

    store = Contested()
    kept = router_on(store)
    assert (await refusal(kept, EAGER, kept.etag("acme"))).http_status == 412
    assert kept.written("acme") == {"mode": "threshold"}
    rivals += ['{"mode":"adaptive"}', '{"mode":"threshold"}']
    await kept.change("acme", EAGER)
    assert json.loads(store.texts["acme"]) == EAGER.written()
    rivals += ['{"mode":"adaptive"}', '{"mode":"threshold"}'] * 10
    assert (await refusal(kept, STRICT)).http_status == 503


async def test_a_store_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing can be set, what is known stays in force, and one line is logged however long it lasts."""
    store = FakePreferenceStore()
    kept = router_on(store)
    await kept.change("acme", EAGER)
    store.down = True
    with caplog.at_level(logging.WARNING):
        error = await refusal(kept, STRICT)
        assert not await kept.refresh()
        assert not await kept.refresh()
    assert isinstance(error, UnavailableError)
    assert error.headers()["Retry-After"]
    assert len(caplog.records) == 1
    assert kept.get("acme") == EAGER
    store.down = False
    assert await kept.refresh()
    await kept.change("acme", STRICT)
    assert kept.get("acme") == STRICT


async def test_before_there_is_a_store() -> None:
    """It is as one that is away."""
    kept = TenantPreferences(most=10)
    assert kept.get("acme") is None
    assert not await kept.refresh()
    assert isinstance(await refusal(kept, EAGER), UnavailableError)


async def test_a_lost_reply() -> None:
    """The writer is told to look; what was stored is in force with the next look, here too."""
    store = FakePreferenceStore(lose_replies=1)
    kept = router_on(store)
    assert isinstance(await refusal(kept, EAGER), UnavailableError)
    assert kept.get("acme") is None
    await kept.refresh()
    assert kept.get("acme") == EAGER


async def test_a_store_that_lost_everything() -> None:
    """Its word stands: routers agree, and tenants fall back to the policy."""
    store = FakePreferenceStore()
    kept = router_on(store)
    await kept.change("acme", EAGER)
    store.texts, store.version = {}, ""
    await kept.refresh()
    assert kept.get("acme") is None


async def test_their_number_is_bounded() -> None:
    """One tenant too many is told whom to ask; those that are there may still change theirs; memory is bounded."""
    store = FakePreferenceStore()
    kept = router_on(store, most=3)
    for number in range(3):
        await kept.change(f"tenant-{number}", EAGER)
    error = await refusal(kept, EAGER)
    assert error.http_status == 507
    assert "tenancy.max_tenants" in str(error)
    await kept.change("tenant-0", STRICT)
    store.texts = {f"tenant-{number}": '{"mode":"threshold"}' for number in range(100_000)}
    store.version = "written by something else"
    await kept.refresh()
    assert len(kept.state()) == 3


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"x"', '{"later": 1}', '{"mode": "always_vanilla"}', "[" * 100_000, "\ufffd", "NaN"],
)
async def test_texts_that_cannot_be_read(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Are passed over, told once by the tenant's name, and may be replaced."""
    store = FakePreferenceStore(texts={"acme": text, "beta": '{"mode":"threshold"}'}, version="1")
    kept = router_on(store)
    with caplog.at_level(logging.ERROR):
        for version in "23":
            assert await kept.refresh()
            store.version = version
    assert len(caplog.records) == (1 if text else 0)
    assert kept.get("acme") is None
    assert kept.get("beta") is not None
    await kept.change("acme", EAGER)
    assert kept.get("acme") == EAGER


async def test_watching(caplog: pytest.LogCaptureFixture) -> None:
    """It looks at once and at every round, outages and surprises notwithstanding."""
    store = FakePreferenceStore()
    kept = router_on(store)
    rounds = 0

    async def sleep(_: float) -> None:
        nonlocal rounds
        rounds += 1
        store.down = rounds == 1
        store.texts, store.version = {"acme": '{"mode":"threshold"}'}, str(rounds)
        if rounds == 2:
            store.texts = None  # type: ignore[assignment]
        if rounds == 4:
            raise asyncio.CancelledError

    with suppress(asyncio.CancelledError):
        await kept.watch(1.0, sleep)
    assert rounds == 4
    assert kept.get("acme") is not None
    assert "unexpected failure" in caplog.text

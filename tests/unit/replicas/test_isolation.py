"""Salts of the prefix cache: tenants never share one, and a tenant always has the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicas.isolation import salt_of, salted

pytestmark = pytest.mark.unit

TENANTS = st.text(min_size=1, max_size=64)
OWN = st.none() | st.text(max_size=128)


@given(TENANTS, OWN, TENANTS, OWN)
def test_tenants_never_share_a_salt(one: str, own: str | None, other: str, others: str | None) -> None:
    """Whatever salts clients bring; the same tenant with the same salt has the same."""
    first = salted({"prompt_token_ids": [1], "cache_salt": own}, salt_of(one))["cache_salt"]
    second = salted({"prompt_token_ids": [1], "cache_salt": others}, salt_of(other))["cache_salt"]
    assert (first == second) == (one == other and (own or None) == (others or None))


@given(TENANTS, TENANTS)
def test_anothers_salt_as_ones_own_leads_nowhere(attacker: str, victim: str) -> None:
    """Not even a tenant that knows the salt of another gets at its prompts."""
    brought = salted({"cache_salt": salt_of(victim)}, salt_of(attacker))["cache_salt"]
    assert brought != salt_of(victim)


def test_a_salt_is_the_same_everywhere() -> None:
    """On every router and after every restart, so that a tenant keeps its cache; and it names nobody."""
    assert salt_of("acme") == salt_of("acme") == "6230ca555431cae28295e2b4b38bd0c2"
    assert "acme" not in salt_of("acme")


def test_half_a_character_is_a_salt_too() -> None:
    """JSON can hold what is no UTF-8; the engine gets plain digits."""
    assert salted({"cache_salt": "\ud800"}, salt_of("acme"))["cache_salt"].isalnum()


def test_a_shared_cache_changes_nothing() -> None:
    """Without a salt of the router's the input is vLLM's own, a client's salt included."""
    prompt = {"prompt_token_ids": [1, 2], "cache_salt": "mine"}
    assert salted(prompt, "") is prompt

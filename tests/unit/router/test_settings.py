"""Deployment settings: every mistake is one line that names its field."""

from typing import Any

import pytest

from router.settings import (
    ADMIN_TOKEN_VARIABLE,
    DeploymentSettings,
    SettingsError,
    StoreSettings,
    admin_token,
    parse_settings,
    store_url,
)

pytestmark = pytest.mark.unit

NGRAM = {"name": "ngram", "method": "ngram", "k": 8}


def test_nothing_given_is_the_embedded_set_up() -> None:
    """A plain and a speculative pool, the embedded store, nobody trusted and nothing open."""
    found = parse_settings({})
    assert found == DeploymentSettings()
    assert [profile.name for profile in found.profiles] == ["vanilla", "ngram"]
    assert (found.store.url, found.tenancy.trusted_header, found.http.open_admin) == (
        "embedded",
        False,
        False,
    )


@pytest.mark.parametrize(
    ("values", "field", "hint"),
    [
        ({"stor": {}}, "stor", "did you mean 'store'?"),
        ({"store": {"uri": "x"}}, "store.uri", "did you mean 'url'?"),
        ({"tenancy": {"trusted_headers": True}}, "tenancy.trusted_headers", "'trusted_header'"),
        ({"policy": {"file": "x"}}, "policy.file", "allowed: path, poll_interval_s"),
        ({"http": {"max_body": 1}}, "http.max_body", "'max_body_bytes'"),
        ({"fake_engines": {"stepms": 1}}, "fake_engines.stepms", "'step_ms'"),
        ({"model": {"nam": "x"}}, "model.nam", "'name'"),
        ({"profiles": [NGRAM, {"name": "x", "methd": "ngram"}]}, "profiles.1.methd", "'method'"),
        ({"profiles": [{**NGRAM, "prompt_lookup": {"mn": 1}}]}, "profiles.0.prompt_lookup.mn", "'min'"),
        ({"store": {"timeout_ms": 0}}, "store.timeout_ms", "greater than or equal to 1"),
        ({"store": {"timeout_ms": "soon"}}, "store.timeout_ms", "integer"),
        ({"store": {"flush_interval_s": float("inf")}}, "store.flush_interval_s", "finite"),
        ({"store": {"flush_interval_s": float("nan")}}, "store.flush_interval_s", ""),
        ({"store": []}, "store", "dictionary"),
        ({"routers": 0}, "routers", "greater than or equal to 1"),
        ({"profiles": []}, "profiles", "at least one"),
        ({"profiles": [NGRAM, NGRAM]}, "profiles", "'ngram' is used twice"),
        ({"profiles": [{"name": "A b"}]}, "profiles.0.name", "pattern"),
        ({"profiles": [{"name": "x", "method": "eagle9"}]}, "profiles.0.method", "'ngram'"),
        ({"profiles": [{"name": "x", "k": 3}]}, "profiles.0", "method is none"),
        ({"profiles": [{"name": "x", "method": "ngram"}]}, "profiles.0", "set k to 1 or more"),
        ({"profiles": [{"name": "x", "method": "ngram", "k": 64}]}, "profiles.0.k", "32"),
        ({"http": {"max_body_bytes": 10}}, "http.max_body_bytes", "1024"),
        ({"fake_engines": {"alpha": 1.5}}, "fake_engines.alpha", "less than or equal to 1"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_field(values: dict[str, Any], field: str, hint: str) -> None:
    """The line starts with the field's path, or holds it, and says what would be right."""
    with pytest.raises(SettingsError) as caught:
        parse_settings(values)
    (line,) = str(caught.value).splitlines()
    assert field in line.split(": ")[:2]
    assert hint in line


def test_all_mistakes_are_told_at_once() -> None:
    """One line each."""
    with pytest.raises(SettingsError) as caught:
        parse_settings(
            {"routers": 0, "stor": {}, "store": {"uri": "x"}, "profiles": [{"name": "x", "k": "y"}]}
        )
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize("values", [[], "text", None, {1: 2}, {"profiles": {}}, {"profiles": "ngram"}])
def test_things_that_are_no_settings(values: Any) -> None:
    """Whatever YAML gives, it is an error in words."""
    with pytest.raises(SettingsError):
        parse_settings(values)


def test_settings_are_frozen() -> None:
    """Nobody changes them after start."""
    with pytest.raises(ValueError, match="frozen"):
        parse_settings({}).store.url = "x"  # type: ignore[misc]


def test_an_empty_admin_token_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unset variable and an empty one both mean that there is no token."""
    monkeypatch.delenv(ADMIN_TOKEN_VARIABLE, raising=False)
    assert admin_token() is None
    monkeypatch.setenv(ADMIN_TOKEN_VARIABLE, "")
    assert admin_token() is None
    monkeypatch.setenv(ADMIN_TOKEN_VARIABLE, "secret")
    assert admin_token() == "secret"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://store:6379/0", "redis://specroute:p%40ss%2Fword@store:6379/0"),
        (
            "rediss://store/0?ssl_ca_certs=/etc/ca.pem",
            "rediss://specroute:p%40ss%2Fword@store/0?ssl_ca_certs=/etc/ca.pem",
        ),
        ("redis://me:mine@store/0", "redis://me:mine@store/0"),
        ("embedded", "embedded"),
    ],
)
def test_who_logs_in_at_the_store_may_stand_in_the_environment(
    url: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Secret reaches a pod as variables; what the URL says itself holds."""
    monkeypatch.setenv("SPECROUTE_STORE_USERNAME", "specroute")
    monkeypatch.setenv("SPECROUTE_STORE_PASSWORD", "p@ss/word")
    assert store_url(StoreSettings(url=url)) == expected


def test_without_credentials_the_store_url_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment changes nothing."""
    monkeypatch.delenv("SPECROUTE_STORE_USERNAME", raising=False)
    monkeypatch.delenv("SPECROUTE_STORE_PASSWORD", raising=False)
    assert store_url(StoreSettings(url="redis://store:6379/0")) == "redis://store:6379/0"

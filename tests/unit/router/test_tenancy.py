"""Whose request it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import ApiError, BadRequestError, InvalidKeyError
from router.key_file import KeyFile
from router.keys import KeyTable, file_line
from router.requests import ANONYMOUS
from router.tenancy import Tenancy

pytestmark = pytest.mark.unit

ACME, BETA = "sk-acme", "sk-bêta"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    file.write_text(f"{file_line(ACME, 'acme')}\n{file_line(BETA, 'beta')}\n")
    return KeyFile(file)


def who(tenancy: Tenancy, *, key: str | None = None, header: str | None = None) -> str | int:
    """The tenant, or the status of the refusal."""
    headers = {} if header is None else {"x-specroute-tenant": header}
    if key is not None:
        headers["authorization"] = key
    try:
        return tenancy.tenant(headers)
    except ApiError as error:
        return error.http_status


def test_without_keys_everybody_is_anonymous_or_what_a_trusted_header_says() -> None:
    """As before there were keys: what clients of OpenAI's API send as a key means nothing."""
    for key in (None, "Bearer none", "Bearer", "Basic eDp5"):
        assert who(Tenancy(), key=key) == ANONYMOUS
        assert who(Tenancy(), key=key, header="acme") == ANONYMOUS
        assert who(Tenancy(), key=key, header="a b") == ANONYMOUS
        trusting = Tenancy(trusted_header=True)
        assert who(trusting, key=key) == ANONYMOUS
        assert who(trusting, key=key, header="") == ANONYMOUS
        assert who(trusting, key=key, header="acme") == "acme"


@pytest.mark.parametrize("odd", ["a b", "a:b", "{a}", "ä", "...", "a" * 65, "a\n", "acme, evil"])
def test_odd_names_in_a_trusted_header(odd: str) -> None:
    """Are refused by the header's name."""
    with pytest.raises(BadRequestError) as caught:
        Tenancy(trusted_header=True).tenant({"x-specroute-tenant": odd})
    assert caught.value.param == "X-Specroute-Tenant"


def test_names_in_a_trusted_header() -> None:
    """Letters, digits, and . _ - between them, up to 64."""
    tenancy = Tenancy(trusted_header=True)
    for name in ("acme-1.eu_west", "a" * 64, "7"):
        assert who(tenancy, header=name) == name


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("anonymous", [False, True])
def test_a_key_wins(keys: KeyFile, trusted: bool, anonymous: bool) -> None:
    """A known key is its tenant; a header may repeat that and name nobody else; an unknown key is nobody's."""
    tenancy = Tenancy(keys, trusted_header=trusted, anonymous=anonymous)
    assert who(tenancy, key=f"Bearer {ACME}") == "acme"
    assert who(tenancy, key=f"bearer   {ACME} ") == "acme"
    assert who(tenancy, key=f"Bearer {ACME}", header="acme") == "acme"
    for other in ("beta", "anonymous", "ACME", "a b"):
        assert who(tenancy, key=f"Bearer {ACME}", header=other) == 403
    for unknown in ("Bearer none", f"Bearer {ACME}x", f"Bearer {ACME[:-1]}", f"Basic {ACME}", ACME, "x y z"):
        assert who(tenancy, key=unknown) == 401
        assert who(tenancy, key=unknown, header="acme") == 401


def test_keys_of_any_bytes(keys: KeyFile) -> None:
    """A key outside ASCII is compared as the bytes it came in."""
    assert who(Tenancy(keys), key=f"Bearer {BETA.encode().decode('latin-1')}") == "beta"
    assert who(Tenancy(keys), key=f"Bearer {BETA}") == 401


def test_without_a_key_where_there_are_keys(keys: KeyFile) -> None:
    """The trusted header counts; else only where anonymous is allowed somebody without a name gets in."""
    for none in (None, "", "Bearer", "Bearer "):
        assert who(Tenancy(keys), key=none) == 401
        assert who(Tenancy(keys), key=none, header="acme") == 401
        assert who(Tenancy(keys, anonymous=True), key=none, header="acme") == ANONYMOUS
        assert who(Tenancy(keys, trusted_header=True), key=none, header="acme") == "acme"
        assert who(Tenancy(keys, trusted_header=True), key=none) == 401


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer sk-hunter2"}])
def test_the_refusal_is_openais_own(keys: KeyFile, headers: dict[str, str]) -> None:
    """Type and code as OpenAI's API has them, the scheme named, and no piece of the key repeated."""
    with pytest.raises(InvalidKeyError) as caught:
        Tenancy(keys).tenant(headers)
    error = caught.value
    assert error.http_status == 401
    assert (error.body()["error"]["type"], error.body()["error"]["code"]) == (
        "invalid_request_error",
        "invalid_api_key",
    )
    assert error.headers() == {"WWW-Authenticate": "Bearer"}
    assert "hunter2" not in f"{error!r} {error.body()}"


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_header_makes_somebody_else(authorization: str, named: str) -> None:
    """Without a key in force no headers whatever make a tenant, and nothing but a refusal is raised."""
    assert who(NO_KEYS, key=authorization, header=named) in {ANONYMOUS, 401}


class _NoKeys(KeyFile):
    def __init__(self) -> None:
        self.table = KeyTable({})


NO_KEYS = Tenancy(_NoKeys(), anonymous=True)

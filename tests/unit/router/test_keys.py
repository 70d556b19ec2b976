"""API keys: the file that names their owners, and finding the owner of a presented one."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.keys import KEY_PREFIX, MAX_LABEL, KeyOwner, KeysError, file_line, new_key, parse_keys

pytestmark = pytest.mark.unit

KEY, OTHER = "sk-specroute-one", "sk-specroute-two"


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def problems(text: str | bytes) -> list[str]:
    """What is wrong with a file, a line each."""
    with pytest.raises(KeysError) as caught:
        parse_keys(text, "keys.yaml")
    return str(caught.value).splitlines()


def test_a_key_has_an_owner() -> None:
    """With and without the prefix, in short and in long form, capital digits too; other keys have none."""
    table = parse_keys(
        f"sha256:{digest(KEY)}: acme\n{digest(OTHER).upper()}: {{tenant: beta, label: old one}}\n",
        "keys.yaml",
    )
    assert table.owner(KEY.encode()) == KeyOwner("acme")
    assert table.owner(OTHER.encode()) == KeyOwner("beta", "old one")
    for wrong in (
        b"",
        KEY[:-1].encode(),
        f"{KEY} ".encode(),
        digest(KEY).encode(),
        sha256(KEY.encode()).digest(),
    ):
        assert table.owner(wrong) is None
    assert table.tenants == {"acme", "beta"}


def test_a_tenant_may_have_several_keys() -> None:
    """While they are rotated, both are its."""
    table = parse_keys(f"{file_line(KEY, 'acme', 'old')}\n{file_line(OTHER, 'acme', 'new')}\n", "keys.yaml")
    assert [table.owner(key.encode()) for key in (KEY, OTHER)] == [
        KeyOwner("acme", "old"),
        KeyOwner("acme", "new"),
    ]
    assert [entry["label"] for entry in table.entries()] == ["new", "old"]


def test_a_file_without_keys_says_so() -> None:
    """`{}` takes all keys back; an empty file is one that was cut off."""
    assert len(parse_keys("{}", "keys.yaml")) == 0
    for empty in ("", "# nothing yet\n", "---\n"):
        assert problems(empty)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sk-specroute-hunter2: acme", "not the SHA-256 of a key"),
        (f"sha256:{'a' * 63}: acme", "not the SHA-256 of a key"),
        (f"{'a' * 64}: sk-specroute-hunter2 ", "A-Z a-z"),
        (f"{'a' * 64}: {{tenant: acme, key: sk-specroute-hunter2}}", "stands its tenant"),
        (f"{'a' * 64}: {{label: sk-specroute-hunter2}}", "stands its tenant"),
        (f"{'a' * 64}: [sk-specroute-hunter2]", "stands its tenant"),
        (f"{'a' * 64}: true", "stands its tenant"),
        (f"{'a' * 64}: 12", "stands its tenant"),
        (f"{'a' * 64}:", "cannot be read"),
        (f"{'a' * 64}: anonymous", "choose another"),
        (f"{'a' * 64}: {{tenant: 12, label: x}}", "in quotes"),
        (f"{'a' * 64}: {{tenant: acme, label: {'x' * (MAX_LABEL + 1)}}}", "label: use up to"),
        (f"{'1' * 64}: acme", "cannot be read"),
        ("&x sk-specroute-hunter2: *x", "cannot be read"),
        ("sk-specroute-hunter2", "cannot be read"),
        ("? [sk-specroute-hunter2]\n: acme", "cannot be read"),
        ("!!python/object:sk-specroute-hunter2 {}: x", "cannot be read"),
        ("sk-specroute-hunter2: 'x\n", "cannot be read"),
        ("- {tenant: acme, sha256: sk-specroute-hunter2}", "cannot be read"),
    ],
)
def test_lines_that_cannot_be_used(line: str, said: str) -> None:
    """Each is told by its place and what belongs there, never by what stands there: it may be a key."""
    if line.endswith("hunter2 "):
        line = line.replace("sk-specroute-hunter2 ", "'sk specroute hunter2'")
    found = problems(f"# keys\n{line}\n")
    assert any(said in one for one in found), found
    assert all(one.startswith("keys.yaml:") for one in found)
    assert "hunter2" not in "".join(found)


def test_all_problems_are_told_at_once() -> None:
    """One line each."""
    text = f"{digest(KEY)}: acme\nsha256:{digest(KEY)}: beta\n{digest(OTHER)}: beta\n{digest(OTHER)}: beta\nx: y\n"
    found = problems(text)
    assert sum("twice" in one for one in found) == 2
    assert len(found) == 3


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"\x00", b"a: b\n---\nc: d\n", b"[" * 100_000, b"x" * (2 * 2**20)]
)
def test_files_of_another_kind(text: bytes) -> None:
    """Bytes, several documents, bombs and what is far too large are refused with one line."""
    assert len(problems(text)) == 1


def test_more_keys_than_can_be() -> None:
    """A file of more keys than the limit is refused."""
    text = "\n".join(f"{number:064x}: acme" for number in range(10_001) if not f"{number:064x}".isdecimal())
    assert len(parse_keys(text, "keys.yaml")) < 10_000
    text = "\n".join(f"sha256:{number:064x}: acme" for number in range(10_001))
    assert any("too many" in one for one in problems(text))


@given(st.text(max_size=300))
def test_any_text_that_is_none_is_refused(text: str) -> None:
    """Nothing else happens, and no piece of the text is repeated."""
    assert "hunter2" not in "".join(problems(f"sk-hunter2{text}"))


@given(
    st.from_regex(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._-]{1,64}", fullmatch=True).filter(
        lambda name: name != "anonymous"
    ),
    st.text(st.characters(exclude_categories=["C", "Z"]), max_size=MAX_LABEL),
)
def test_a_line_reads_back(tenant: str, label: str) -> None:
    """Whatever the tenant is called (`true`, `1.5`), its line names it."""
    assert parse_keys(file_line(KEY, tenant, label), "keys.yaml").owner(KEY.encode()) == KeyOwner(
        tenant, label
    )


@pytest.mark.parametrize(
    ("tenant", "label"),
    [("", ""), ("a b", ""), ("anonymous", ""), ("...", ""), ("acme", "a\nb"), ("acme", "x" * 81)],
)
def test_lines_that_are_not_made(tenant: str, label: str) -> None:
    """A tenant or label that the file could not hold is refused beforehand."""
    with pytest.raises(KeysError):
        file_line(KEY, tenant, label)


def test_new_keys() -> None:
    """They differ, carry 256 bits, and pass through a header as they are."""
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith(KEY_PREFIX) and len(key) == len(KEY_PREFIX) + 43 for key in keys)
    assert all(key.isascii() and key.isprintable() and " " not in key for key in keys)


def test_nothing_secret_is_shown() -> None:
    """Neither a table nor its entries show a key or a whole digest."""
    table = parse_keys(file_line(KEY, "acme"), "keys.yaml")
    shown = f"{table!r} {table} {table.entries()}"
    assert digest(KEY)[:9] not in shown
    assert KEY not in shown
    assert digest(KEY)[:8] in shown

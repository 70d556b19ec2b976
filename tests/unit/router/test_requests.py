"""What is read of a request: everything a client can send gives a request or a 400."""

import json
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.tasks import TASKS
from router.errors import BadRequestError
from router.requests import ANONYMOUS, MAX_K, RoutedRequest, read_request

pytestmark = pytest.mark.unit

PATH = "/v1/chat/completions"
HEADERS = (
    "x-specroute-task",
    "x-specroute-route",
    "x-specroute-k",
    "x-specroute-profile",
    "x-specroute-tenant",
    "x-specroute-details",
    "x-specroute-deadline",
    "x-request-id",
)


def read(headers: dict[str, str] | None = None, **fields: Any) -> RoutedRequest:
    return read_request(PATH, headers or {}, json.dumps(fields).encode())


def refusal(
    headers: dict[str, str] | None = None, body: bytes | None = None, **fields: Any
) -> BadRequestError:
    """The error of a request that must be refused: one line of bounded length."""
    with pytest.raises(BadRequestError) as caught:
        read_request(PATH, headers or {}, json.dumps(fields).encode() if body is None else body)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    assert caught.value.http_status == 400
    return caught.value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["messages", "metadata", "temperature", "min_p", "logit_bias", "stream", "model", "prompt", "max_tokens"]
)


@given(st.dictionaries(FIELDS, JSON), st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=80)))
def test_any_json_and_any_headers(fields: dict[str, Any], headers: dict[str, str]) -> None:
    """Any JSON under any header values is a request or a bad request, and its bytes stay as they were."""
    body = json.dumps(fields).encode()
    try:
        found = read_request(PATH, headers, body)
    except BadRequestError:
        return
    assert found.body == body
    assert found.temperature in {"low", "mid", "high"}
    assert found.hints.task in {None, *TASKS}
    assert found.hints.k is None or 0 <= found.hints.k <= MAX_K


@given(JSON, st.sampled_from(["utf-8", "utf-16", "utf-32", "latin-1"]))
def test_any_document(value: Any, encoding: str) -> None:
    """A document that is no object is a bad request, in any encoding JSON may have."""
    body = json.dumps(value, ensure_ascii=True).encode(encoding)
    try:
        found = read_request(PATH, {}, body)
    except BadRequestError:
        return
    assert isinstance(found.fields, dict)


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    """Bytes that are no JSON object are a bad request."""
    with suppress(BadRequestError):
        read_request(PATH, {}, body)


@settings(deadline=None)
@given(st.integers(900, 1100), st.booleans())
def test_nesting_of_any_depth(depth: int, as_task: bool) -> None:
    """Around the interpreter's recursion limit, too, deep nesting is a request or a bad request."""
    deep = "[" * depth + "]" * depth
    body = f'{{"metadata": {{"task": {deep}}}}}' if as_task else f'{{"messages": {deep}}}'
    try:
        read_request(PATH, {}, body.encode())
    except BadRequestError:
        return
    assert not as_task


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\xfd", "not valid JSON"),
        (b"null", "not NoneType"),
        (b"[1]", "not list"),
        (b'"text"', "not str"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_bodies_that_are_no_object(body: bytes, said: str) -> None:
    """The refusal says what is wrong with the body."""
    assert said in str(refusal(body=body))


@pytest.mark.parametrize(
    ("temperature", "bucket"),
    [
        (0, "low"),
        (0.3, "low"),
        (0.31, "mid"),
        (0.8, "mid"),
        (1, "high"),
        (2.0, "high"),
        (None, "high"),
        ("0.1", "high"),
        (True, "high"),
        ([0], "high"),
        (float("nan"), "high"),
        (float("inf"), "high"),
        (-1, "low"),
        (10**400, "high"),
    ],
)
def test_temperature(temperature: object, bucket: str) -> None:
    """Temperatures have a bucket; what is none counts as the default of 1, and is the engine's to refuse."""
    assert read(temperature=temperature).temperature == bucket


@pytest.mark.parametrize(
    ("fields", "plain"),
    [
        ({}, False),
        ({"min_p": 0.1}, True),
        ({"min_p": 0}, False),
        ({"min_p": "x"}, False),
        ({"min_p": "0.1"}, True),  # vLLM takes it for a number
        ({"min_p": 10**400}, True),
        ({"min_p": -(10**400)}, False),
        ({"min_p": True}, False),
        ({"logit_bias": {"5": 1}}, True),
        ({"logit_bias": {}}, False),
        ({"logit_bias": None}, False),
    ],
)
def test_what_speculation_cannot_serve(fields: dict[str, Any], plain: bool) -> None:
    """min_p and logit_bias need a plain pool, where they ask for anything."""
    assert read(**fields).unsupported is plain


@pytest.mark.parametrize("value", [True, -1, "", [], [{}]])
def test_structured_outputs_must_be_an_object(value: object) -> None:
    """Otherwise vLLM answers with an internal error."""
    assert refusal(structured_outputs=value).param == "structured_outputs"
    assert read(structured_outputs={"choice": ["a"]}).fields["structured_outputs"]
    assert read(structured_outputs=None).fields["structured_outputs"] is None


def test_a_hint_may_name_a_task_of_the_policy() -> None:
    """Custom tasks are accepted where they are known, and named where a hint is not understood."""
    headers = {"x-specroute-task": "Poetry"}
    known = (*TASKS, "poetry")
    read_it = partial(read_request, PATH, headers, b"{}")
    assert read_it(tasks=known).hints.task == "poetry"
    with pytest.raises(BadRequestError, match="unknown task 'Poetry'"):
        read_it()


def test_the_header_names_the_task_before_the_body_does() -> None:
    """X-Specroute-Task wins over metadata.task; case and space do not matter."""
    assert read(metadata={"task": "qa"}).hints.task == "qa"
    assert read({"x-specroute-task": " SQL "}, metadata={"task": "qa"}).hints.task == "sql"
    assert read(metadata="qa").hints.task is None
    assert read(metadata={"task": None}).hints.task is None


@pytest.mark.parametrize("task", ["", "unknown", "code,sql", 3, ["code"], {"a": 1}, "x" * 100_000, "\ud800"])
def test_unknown_tasks(task: object) -> None:
    """A task outside the set is refused, with the known ones; a long one is not repeated."""
    error = refusal(metadata={"task": task})
    assert error.param == "metadata.task"
    assert "code" in str(error)


def test_route_hints() -> None:
    """Auto is no wish; anything but the three words is refused."""
    assert read().hints.route is None
    assert read({"x-specroute-route": "Auto"}).hints.route is None
    assert read({"x-specroute-route": "speculative"}).hints.route == "speculative"
    assert read({"x-specroute-route": " VANILLA "}).hints.route == "vanilla"
    assert refusal({"x-specroute-route": "fast"}).param == "X-Specroute-Route"
    refusal({"x-specroute-route": "vanilla, speculative"})
    refusal({"x-specroute-route": "x" * 10_000})


@pytest.mark.parametrize("k", ["0", "1", " 5 ", "32", "007"])
def test_k_hints(k: str) -> None:
    """K is a whole number from 0 to the largest any engine has."""
    assert read({"x-specroute-k": k}).hints.k == int(k)


@pytest.mark.parametrize(
    "k", ["", "-1", "33", "1.5", "five", "5,5", "٣", "²", "1e1", "0x4", "9" * 5000, "+3", "1_0"]
)
def test_k_hints_out_of_range(k: str) -> None:
    """Anything else is refused, whatever Python would make of it."""
    assert refusal({"x-specroute-k": k}).param == "X-Specroute-K"


@pytest.mark.parametrize(
    ("given", "profile"), [(None, None), ("", None), (" ngram ", "ngram"), ("x" * 99, "x" * 64)]
)
def test_profile_hints(given: str | None, profile: str | None) -> None:
    """A name; whether there is such a pool the decision knows."""
    assert read({} if given is None else {"x-specroute-profile": given}).hints.profile == profile


def test_deadline_hints() -> None:
    """A duration with its unit, as in policies; anything else is refused."""
    assert read().hints.deadline_s is None
    assert read({"x-specroute-deadline": " 1m30s "}).hints.deadline_s == 90
    assert read({"x-specroute-deadline": "250ms"}).hints.deadline_s == 0.25
    for given_text in ("", "10", "0s", "-1s", "soon", "9" * 5000 + "s", "2s" * 300):
        assert refusal({"x-specroute-deadline": given_text}).param == "X-Specroute-Deadline"


def test_weights() -> None:
    """A number up to 1 that says what the request counts as; anything else is refused."""
    assert read().hints.weight == 1
    assert read({"x-specroute-weight": " 0.125 "}).hints.weight == 0.125
    for given_text in ("", "0", "-0.5", "1.01", "nan", "inf", "half", "1" * 5000):
        assert refusal({"x-specroute-weight": given_text}).param == "X-Specroute-Weight"


def test_the_tenant_is_no_matter_of_what_is_read() -> None:
    """Whose request it is was settled before; without a word about it, it is anonymous."""
    assert read({"x-specroute-tenant": "acme"}).tenant == ANONYMOUS
    assert read_request(PATH, {}, b"{}", tenant="acme").tenant == "acme"


def test_request_ids() -> None:
    """A printable id of sensible length is kept, any other is replaced, never refused."""
    assert read({"x-request-id": "abc-1"}).request_id == "abc-1"
    ids = [read({"x-request-id": odd}).request_id for odd in ("", "a\nb", "é", "x" * 65)]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 32 for one in ids)


def test_details() -> None:
    """Details are asked for by 1 or true, and by nothing else."""
    assert [read({"x-specroute-details": v}).hints.details for v in ("1", "True", "0", "yes", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_stream_is_true_or_not() -> None:
    """Only JSON's true asks for a stream."""
    assert read(stream=True).stream
    assert not any(read(stream=value).stream for value in (False, None, 1, "true"))

"""What parse_policy accepts, and the exact words for what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policies.base import MAX_KEYWORDS
from policies.loading import parse_policy
from policies.problems import PolicyError, Problem
from policies.schema import MAX_SCHEDULES
from policies.yaml_tree import MAX_BYTES

pytestmark = pytest.mark.unit

HEAD = "apiVersion: specroute/v1\nkind: RoutingPolicy\nmetadata: {name: test}\nspec:\n"
CASES = Path(__file__).with_name("broken_policies.txt").read_text(encoding="utf-8")
BROKEN = re.findall(r"^=== (.+)\n((?:.*\n)+?)--- problems\n((?:p\.yaml.*\n)+)", CASES, re.MULTILINE)
MISSING = [
    f"p.yaml:1:1: {key}: required key is missing" for key in ("apiVersion", "kind", "metadata", "spec")
]


def problems_of(text: str | bytes) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "p.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(("spec", "expected"), [pytest.param(*case[1:], id=case[0]) for case in BROKEN])
def test_a_broken_spec_is_reported_word_for_word(spec: str, expected: str) -> None:
    """Every problem of a policy is one line with its position, its path and what to do."""
    assert problems_of(HEAD + spec) == expected.splitlines()


def test_every_broken_spec_of_the_file_is_tried() -> None:
    """The table's pattern misses no case."""
    assert len(BROKEN) == CASES.count("\n=== ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", ["p.yaml:1:1: the file is empty; start from a preset"], id="empty"),
        pytest.param("# only\n", ["p.yaml:1:1: the file is empty; start from a preset"], id="comments"),
        pytest.param("---\n...\n", ["p.yaml:1:1: the file is empty; start from a preset"], id="null"),
        pytest.param(
            "- a\n",
            ["p.yaml:1:1: expected a mapping at the top, got a list; start with apiVersion: specroute/v1"],
            id="list",
        ),
        pytest.param(
            "!!python/object:os.system {}\n",
            [
                (
                    "p.yaml:1:1: expected a mapping at the top, "
                    "got the YAML tag '!!python/object:os.system'; start with apiVersion: specroute/v1"
                )
            ],
            id="tagged root",
        ),
        pytest.param("{}\n", MISSING, id="no keys"),
        pytest.param(
            "apiVersion: specroute/v2\nkind: Policy\nmetadata: {}\nspec: {}\n",
            [
                (
                    "p.yaml:1:1: apiVersion: unknown value 'specroute/v2'; "
                    "did you mean 'specroute/v1'? allowed: specroute/v1"
                ),
                (
                    "p.yaml:2:1: kind: unknown value 'Policy'; "
                    "did you mean 'RoutingPolicy'? allowed: RoutingPolicy"
                ),
                "p.yaml:3:1: metadata.name: required key is missing",
            ],
            id="wrong version, kind and name",
        ),
        pytest.param(
            "spec: {}\n---\n{}\n",
            ["p.yaml:2:1: a second document starts here; keep one policy per file"],
            id="two documents",
        ),
        pytest.param(
            "spec:\n\tmode: shadow\n",
            [
                (
                    r"p.yaml:2:1: not valid YAML: found character '\t' that cannot start any token; "
                    "indent with spaces, never tabs"
                )
            ],
            id="tab",
        ),
        pytest.param(
            "spec: {mode: shadow\n",
            ["p.yaml:2:1: not valid YAML: expected ',' or '}', but got '<stream end>'"],
            id="unclosed",
        ),
        pytest.param(
            "spec: \x07\n", ["p.yaml:1:7: the character U+0007 is not allowed"], id="control character"
        ),
        pytest.param(
            b"metadata:\n  name: caf\xe9\n",
            ["p.yaml:2:12: not UTF-8 text; save the file as UTF-8"],
            id="latin-1",
        ),
        pytest.param("[" * 100_000, ["p.yaml:1:33: nested deeper than 32 levels"], id="nested lists"),
        pytest.param("? " * 100_000, ["p.yaml:1:65: nested deeper than 32 levels"], id="nested keys"),
        pytest.param(
            'a: "\\UFFFFFFFF"\n',
            ["p.yaml:1:7: not valid YAML: a number or an escape is out of range"],
            id="escape out of range",
        ),
        pytest.param(
            "%YAML 1." + "9" * 5000 + "\n---\na: b\n",
            ["p.yaml:1:9: not valid YAML: a number or an escape is out of range"],
            id="directive out of range",
        ),
        pytest.param(
            b" " * (MAX_BYTES + 1),
            ["p.yaml:1:1: 1048577 bytes are too many; at most 1048576"],
            id="too large",
        ),
    ],
)
def test_text_that_is_no_policy_is_reported_not_crashed_on(text: str | bytes, expected: list[str]) -> None:
    """Whatever is wrong with the text itself becomes a problem as well."""
    assert problems_of(text) == expected


def test_a_bomb_of_aliases_is_not_expanded() -> None:
    """Each alias is refused where it stands."""
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    problems = problems_of("a0: &a0 [x]\n" + levels)
    assert sum("aliases" in problem for problem in problems) == 8 * 9


@pytest.mark.parametrize(
    "spec",
    [
        "{}",
        "{objective: {}, custom_tasks: [], schedules: [], affinity: {}, segments: {}, tenants: {acme: {}}}",
    ],
)
def test_settings_that_ask_for_nothing_are_no_error(spec: str) -> None:
    """Empty sections have no effect, so they may stay."""
    assert parse_policy(HEAD.rstrip() + f" {spec}\n", "p.yaml").spec.mode == "adaptive"


@pytest.mark.parametrize("name", ["../next.yaml", "/etc/passwd", "a/b.yaml", ".hidden", "", "next\\n.yaml"])
def test_a_candidate_is_a_file_beside_the_policy(name: str) -> None:
    """No path leads elsewhere."""
    (problem,) = problems_of(HEAD + f'  canary: {{policy: "{name}", share: 0.05}}\n')
    assert "is not the name of a file beside the policy file" in problem


def test_the_settings_of_adaptive_mode_are_read_in_every_layer() -> None:
    """Objectives and k of engines that adapt it themselves stand in spec, schedules, tasks and tenants."""
    spec = """\
  mode: adaptive
  objective: {min_speedup: 1.05, confidence: 0.90, class: interactive, ttft: 2s, tpot: 200ms}
  k: {mode: engine}
  affinity: {conversation: 5m}
  schedules: [{name: peak, when: {days: mon-fri, from: "09:00", to: "18:00", tz: Europe/Berlin}, k: {max: 5}}]
  tasks: {code: {objective: {ttft: 1s}, k: {mode: engine}}}
  tenants: {acme: {objective: {class: batch}, tasks: {sql: {k: {mode: engine}}}}}
"""
    parsed = parse_policy(HEAD + spec, "p.yaml").spec
    assert (parsed.k.mode, parsed.affinity.conversation, parsed.schedules[0].name) == ("engine", 300, "peak")


def test_custom_tasks_have_settings_of_their_own() -> None:
    """Found by words or only named by a hint; both are tasks like any other."""
    spec = """\
  custom_tasks:
    - {name: poetry, when: {keywords_any: [haiku, free verse]}}
    - {name: tickets}
  tasks: {poetry: {prior_alpha: 0.4}, tickets: {k: {max: 2}}}
"""
    parsed = parse_policy(HEAD + spec, "p.yaml").spec
    assert [task.when is None for task in parsed.custom_tasks] == [False, True]


def test_there_is_an_end_to_keywords() -> None:
    """Every request is searched for all of them."""
    words = ", ".join(f"w{n}" for n in range(MAX_KEYWORDS + 1))
    spec = f"  custom_tasks: [{{name: poetry, when: {{keywords_any: [{words}]}}}}]\n"
    assert problems_of(HEAD + spec) == [
        "p.yaml:5:3: spec.custom_tasks: 257 keywords are too many; at most 256 in all"
    ]


def test_there_is_an_end_to_schedules() -> None:
    """Every two schedules are checked against each other, so there cannot be any number of them."""
    when = "when: {from: '09:00', to: '10:00'}"
    spec = "".join(f"    - {{name: s{n}, {when}}}\n" for n in range(MAX_SCHEDULES + 1))
    assert problems_of(f"{HEAD}  schedules:\n{spec}") == [
        "p.yaml:5:3: spec.schedules: 65 schedules are too many; at most 64"
    ]


def test_bytes_with_a_byte_order_mark_are_read() -> None:
    """Editors on Windows write one."""
    assert parse_policy(b"\xef\xbb\xbf" + HEAD.encode() + b"  {}\n", "p.yaml").metadata.name == "test"


def test_a_policy_keeps_what_it_was_given() -> None:
    """Units become seconds and fractions; what is left out has its default."""
    spec = parse_policy(HEAD + "  limits: {deadline: 1h30m}\n  holdout: {share: 5 %}\n", "p.yaml").spec
    assert (spec.limits.deadline, spec.limits.max_concurrency, spec.holdout.share) == (5400.0, 64, 0.05)


def test_problems_come_in_the_order_of_the_file_and_once_each() -> None:
    """The error sorts and removes repeats."""
    first, second = Problem("p", 1, 2, "a", "x"), Problem("p", 3, 1, "b", "y", "z")
    error = PolicyError([second, first, second])
    assert (error.problems, str(error)) == ((first, second), "p:1:2: a: x\np:3:1: b: y; z")


WITH_DESCRIPTION = """\
{"apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": "n"}, "spec": {},
 "%s": "%s"}
"""


@pytest.mark.parametrize(("key", "value"), [(r"\ud83d\ude00", "x"), ("x", r"\ud83d\ude00")])
def test_json_that_escapes_a_character_in_two_halves_is_read(key: str, value: str) -> None:
    """As every program writes it that keeps to ASCII; the only problem is the key nobody knows."""
    with pytest.raises(PolicyError) as caught:
        parse_policy(WITH_DESCRIPTION % (key, value), "json")
    (problem,) = caught.value.problems
    assert (problem.line, problem.message) == (2, "unknown key")


@pytest.mark.parametrize(("key", "value"), [(r"\ud83d", "x"), ("x", r"\ude00\ud83d")])
def test_half_of_a_character_is_refused(key: str, value: str) -> None:
    """Where it stands, whether in a key or in a value."""
    with pytest.raises(PolicyError) as caught:
        parse_policy(WITH_DESCRIPTION % (key, value), "json")
    (problem,) = caught.value.problems
    assert (problem.line, problem.message) == (2, "an escape stands for half of a character")

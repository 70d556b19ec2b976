"""A canary's mathematics: who is assigned, what is counted, and how often a harmless one is called worse."""

import math
from collections.abc import Iterator, Mapping
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.canary import (
    CANCELLED,
    FAILED,
    TENANT_GROUPS,
    Cell,
    Comparison,
    Count,
    assigned,
    boundary,
    compare,
    fields_of,
    parse_fields,
    rare_evidence,
    tenant_group,
)
from policies.canary.evidence import Arm
from policies.canary.sequence import normal_evidence

pytestmark = pytest.mark.unit

COUNTS = st.builds(Count, *[st.floats(0, 1e6)] * 9)
CELLS = st.builds(
    Cell, st.sampled_from(["candidate", "main"]), st.sampled_from(["code", "a-b_1"]), st.integers(0, 63)
)


def share_of(units: list[str], revision: str, share: float) -> float:
    return sum(assigned(unit, revision, share) for unit in units) / len(units)


@given(st.text(max_size=20), st.floats(0, 1))
def test_a_candidate_decides_its_share(prefix: str, share: float) -> None:
    """Of many requests whatever their ids, to within five standard errors."""
    units = [f"{prefix}{number}" for number in range(2000)]
    error = 5 * math.sqrt(max(share * (1 - share), 1e-3) / len(units))
    assert abs(share_of(units, "3f2a", share) - share) <= error


def test_shares_spread_evenly_over_requests() -> None:
    """Every tenth of the digests has a tenth of the requests: chi squared, 9 degrees of freedom, 0.1 %."""
    tenths = [0] * 10
    for number in range(20_000):
        tenths[next(i for i in range(10) if assigned(f"request-{number}", "r", (i + 1) / 10))] += 1
    assert sum((count - 2000) ** 2 / 2000 for count in tenths) < 27.9


@given(st.text(), st.text(min_size=1, max_size=12), st.floats(0, 1), st.floats(0, 1))
def test_who_belongs_to_a_share_belongs_to_a_larger_one(unit: str, revision: str, a: float, b: float) -> None:
    """Raising the share moves nobody back, and nothing at random decides."""
    small, large = sorted((a, b))
    assert assigned(unit, revision, large) >= assigned(unit, revision, small)
    assert assigned(unit, revision, a) == assigned(unit, revision, a)
    assert not assigned(unit, revision, 0.0)
    assert assigned(unit, revision, 1.0)


def test_assignments_do_not_depend_on_the_process() -> None:
    """These are what every router says, today and after every restart."""
    assert [number for number in range(20) if assigned(f"acme-{number}", "0123456789ab", 0.25)] == [6, 12, 17]


def test_other_tenants_go_first_with_the_next_candidate() -> None:
    """Two revisions' shares are independent: half of a half is a quarter."""
    units = [str(number) for number in range(4000)]
    both = [assigned(unit, "one", 0.5) and assigned(unit, "two", 0.5) for unit in units]
    assert sum(both) / len(both) == pytest.approx(0.25, abs=0.03)


def test_tenants_are_counted_in_a_bounded_number_of_groups() -> None:
    """However many there are, and the same ones for ever."""
    groups = {tenant_group(f"tenant-{number}") for number in range(5000)}
    assert groups == set(range(TENANT_GROUPS))


@given(st.dictionaries(CELLS, COUNTS, max_size=6))
def test_counts_travel_under_flat_names(counts: dict[Cell, Count]) -> None:
    """What the store hands back is what was given; names of others are passed over."""
    fields = fields_of(counts)
    assert parse_fields([*fields.items(), ("writer:x", 3.0), ("candidate:x:code:requests", 1.0)]) == {
        cell: count for cell, count in counts.items() if count != Count()
    }


@given(st.lists(COUNTS, max_size=5))
def test_counts_add_up(counts: list[Count]) -> None:
    """The sum of routers' counts has the sums of all their requests."""
    whole = sum(counts, Count())
    assert whole.requests == pytest.approx(sum(count.requests for count in counts))
    assert whole.total_squares == pytest.approx(sum(count.total_squares for count in counts))


def test_what_a_request_counts() -> None:
    """Times per token as logarithms; decode time after the first token; nothing of what is not known."""
    count = Count.completed(decode_s=0.9, total_s=2.0, tokens=10)
    assert (count.requests, count.failed, count.decode_n, count.total_n) == (1, 0, 1, 1)
    assert count.decode_total == pytest.approx(math.log(0.1))
    assert count.total_squares == pytest.approx(math.log(0.2) ** 2)
    short = Count.completed(decode_s=0.0, total_s=0.5, tokens=1)
    assert (short.requests, short.decode_n, short.total_n) == (1, 0, 1)
    assert Count.completed(decode_s=None, total_s=None, tokens=0) == Count(requests=1)


@given(st.floats(1e-3, 1e6), st.floats(0.001, 0.4))
def test_the_boundary_is_where_the_evidence_suffices(information: float, error: float) -> None:
    """At it the evidence is 1/error, and beyond it more: it grows with the estimate."""
    z = boundary(information, error, 0.1)
    assert normal_evidence(z, information, 0.1) == pytest.approx(-math.log(error), abs=1e-3)
    assert normal_evidence(z * 1.1, information, 0.1) > normal_evidence(z, information, 0.1)
    assert normal_evidence(-z, information, 0.1) < 0


def test_peeking_at_every_request_keeps_the_rate_of_false_alarms() -> None:
    """Of 4,000 runs with no difference, looked at after each of 3,000 requests, at most the stated share ends."""
    error, looks, runs = 0.05, 3000, 4000
    rng = np.random.default_rng(5)
    at = np.arange(1, looks + 1)
    grid = np.unique(np.geomspace(1, looks, 200).astype(int))
    # Requests of variance 0.1: n of them have information 10 n. The boundary rises smoothly with it.
    bounds = np.interp(at, grid, [boundary(10.0 * n, error, 0.1) for n in grid])
    stopped = 0
    for _ in range(runs):
        z = np.cumsum(rng.standard_normal(looks)) / np.sqrt(at)
        stopped += bool(np.any(z > bounds))
    print(f"false alarms: {stopped / runs:.3%} of {runs} runs, stated {error:.0%}")
    assert stopped / runs <= error + 2 * math.sqrt(error * (1 - error) / runs)


def test_rare_failures_keep_the_rate_of_false_alarms() -> None:
    """Looked at after every failure, from the first: 2,000 runs of 400 failures, a tenth of them the candidate's."""
    error, runs, fraction = 0.05, 2000, 0.1
    rng = np.random.default_rng(6)
    stopped = 0
    for _ in range(runs):
        candidates = np.cumsum(rng.random(400) < fraction)
        stopped += any(
            rare_evidence(float(own), float(number - own), fraction) >= -math.log(error)
            for number, own in enumerate(candidates, 1)
            if own / number > fraction
        )
    print(f"false alarms over failures: {stopped / runs:.3%} of {runs} runs, stated {error:.0%}")
    assert stopped / runs <= error


def test_ten_times_the_failures_are_soon_noticed() -> None:
    """A candidate with a twentieth of the traffic and ten of twenty failures is surely worse."""
    assert rare_evidence(10, 10, 0.05) > math.log(1000)
    assert rare_evidence(1, 19, 0.05) < 0
    assert rare_evidence(0, 0, 0.05) == 0
    assert rare_evidence(5, 5, 1.0) == 0


Traffic = Mapping[str, tuple[float, float]]
"""Per task, its share of the requests and its median seconds per token."""

TRAFFIC: Traffic = {"code": (0.5, 0.01), "chat": (0.3, 0.03), "creative": (0.2, 0.05)}


def requests(
    seed: int, *, share: float = 0.2, harm: float = 1.0, scatter: float = 0.4, failing: float = 0.0
) -> Iterator[tuple[Cell, Count]]:
    """Endless requests; the candidate's take `harm` times as long and fail more by `failing`."""
    rng = Random(seed)
    tasks, weights = list(TRAFFIC), [weight for weight, _ in TRAFFIC.values()]
    while True:
        arm: Arm = "candidate" if rng.random() < share else "main"
        task = rng.choices(tasks, weights)[0]
        lost = rng.random()
        if lost < 0.01 + (failing if arm == "candidate" else 0.0):
            yield Cell(arm, task), FAILED if lost > 0.005 else CANCELLED
            continue
        per_token_s = (
            TRAFFIC[task][1] * math.exp(rng.gauss(0.0, scatter)) * (harm if arm == "candidate" else 1.0)
        )
        tokens = rng.randrange(20, 200)
        total_s = per_token_s * tokens + 0.1
        yield (
            Cell(arm, task),
            Count.completed(decode_s=per_token_s * (tokens - 1), total_s=total_s, tokens=tokens),
        )


def run(
    stream: Iterator[tuple[Cell, Count]], *, most: int, every: int = 1, min_requests: int = 100
) -> Comparison:
    """The comparison at which the canary was stopped, or the last one; looked at after `every` requests."""
    counts: dict[Cell, Count] = {}
    comparison = compare(counts, confidence=0.95, min_requests=min_requests)
    for number, (cell, count) in enumerate(stream, 1):
        counts[cell] = counts.get(cell, Count()) + count
        if number % every == 0:
            comparison = compare(counts, confidence=0.95, min_requests=min_requests)
            if comparison.verdict == "worse" or number >= most:
                break
    return comparison


def test_a_harmless_candidate_is_not_stopped() -> None:
    """Over 100 seeds of 3,000 requests at most the stated 5 % are called worse."""
    ends = [run(requests(seed), most=3000, every=25).verdict for seed in range(100)]
    print(f"stopped without harm: {ends.count('worse')} of {len(ends)} seeds")
    assert ends.count("worse") <= 5


def test_a_candidate_that_is_a_tenth_slower_is_stopped() -> None:
    """In every one of 30 seeds, before it has decided 3,000 requests."""
    ends = [run(requests(seed, harm=1.1), most=15_000, every=50) for seed in range(30)]
    decided = sorted(end.candidate_requests for end in ends)
    print(
        f"10 % slower: stopped after {decided[15]} requests of its own at the median, {decided[-1]} at most"
    )
    assert {end.verdict for end in ends} == {"worse"}
    assert decided[-1] < 3000


def test_a_candidate_that_fails_more_is_stopped() -> None:
    """Even where those that do not fail are as fast as ever, and it says why."""
    end = run(requests(1, failing=0.05), most=20_000, every=20)
    assert end.verdict == "worse"
    assert end.because == ("failed requests",)
    assert end.failed.candidate > 0


def test_a_faster_candidate_is_told_apart() -> None:
    """Its upper bound falls below 1, and it goes on until the operator promotes it."""
    end = run(requests(2, harm=0.8), most=4000, every=100)
    assert end.verdict == "faster"
    assert end.total is not None
    assert end.total.lower < 0.8 < end.total.upper < 1.0


def test_a_candidate_that_gets_more_of_a_slow_task_is_not_slower() -> None:
    """Tasks are compared with themselves."""
    rng = Random(3)
    counts: dict[Cell, Count] = {}
    for arm, slow in (("candidate", 0.8), ("main", 0.2)):
        for _ in range(1000):
            task, seconds = ("creative", 1.0) if rng.random() < slow else ("code", 0.1)
            cell = Cell("candidate" if arm == "candidate" else "main", task)
            took_s = seconds * math.exp(rng.gauss(0, 0.2))
            count = Count.completed(decode_s=took_s, total_s=took_s, tokens=10)
            counts[cell] = counts.get(cell, Count()) + count
    end = compare(counts, confidence=0.95, min_requests=100)
    assert end.verdict == "undecided"
    assert end.total is not None
    assert end.total.estimate == pytest.approx(1.0, abs=0.05)


def test_few_requests_decide_nothing() -> None:
    """Below min_requests of either, whatever they say; and with none of either nothing breaks."""
    slow = Count.completed(decode_s=100.0, total_s=100.0, tokens=10)
    quick = Count.completed(decode_s=0.1, total_s=0.1, tokens=10)
    counts = {
        Cell("candidate", "code"): sum([slow] * 50, Count()),
        Cell("main", "code"): sum([quick] * 500, Count()),
    }
    assert compare(counts, confidence=0.95, min_requests=100).verdict == "gathering"
    assert compare(counts, confidence=0.95, min_requests=50).verdict == "worse"
    assert compare({}, confidence=0.95, min_requests=1).verdict == "gathering"


def by_tenants(seed: int, *, harm: float = 1.0, tenants: int = 60, share: float = 0.3) -> dict[Cell, Count]:
    """Requests of tenants of which each has its own speed."""
    rng = Random(seed)
    counts: dict[Cell, Count] = {}
    for number in range(tenants):
        tenant = f"tenant-{seed}-{number}"
        taken = assigned(tenant, f"revision-{seed}", share)
        own = math.exp(rng.gauss(0, 0.3)) * (harm if taken else 1.0)
        cell = Cell("candidate" if taken else "main", "chat", tenant_group(tenant))
        for _ in range(30):
            took_s = own * math.exp(rng.gauss(0, 0.3))
            counts[cell] = counts.get(cell, Count()) + Count.completed(
                decode_s=took_s, total_s=took_s, tokens=10
            )
    return counts


def test_tenants_that_differ_are_not_taken_for_harm() -> None:
    """Where tenants are divided, chance divides tenants: counted request by request it would look certain."""
    runs = [by_tenants(seed) for seed in range(100)]
    naive = sum(compare(counts, confidence=0.95, min_requests=100).verdict == "worse" for counts in runs)
    stopped = sum(
        compare(counts, confidence=0.95, min_requests=100, by_tenant=True).verdict == "worse"
        for counts in runs
    )
    print(f"divided by tenant, stopped without harm: {stopped} of {len(runs)}; as requests: {naive}")
    assert stopped <= 5 < naive


def test_a_candidate_that_harms_every_tenant_is_stopped() -> None:
    """Twice the time shows beyond what tenants differ; a single tenant of either arm says nothing."""
    assert (
        compare(by_tenants(1, harm=2.0), confidence=0.95, min_requests=100, by_tenant=True).verdict == "worse"
    )
    lone = {
        Cell("candidate", "chat", 1): sum(
            [Count.completed(decode_s=9.0, total_s=9.0, tokens=10)] * 300, Count()
        ),
        Cell("main", "chat", 2): sum([Count.completed(decode_s=1.0, total_s=1.0, tokens=10)] * 300, Count()),
    }
    assert compare(lone, confidence=0.95, min_requests=100, by_tenant=True).total is None

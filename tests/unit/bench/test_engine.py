"""The simulated engine against what can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from small import FLAT, QUIET, always, played, requests

from bench.simulate.drafting import ModelDrafting, steps_at
from bench.simulate.static import Static
from bench.simulate.surfaces import Staircase
from policies.cost import StepLoad

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("k", [0, 1, 3, 8])
def test_alone_a_request_decodes_in_its_steps_times_the_pass(k: int) -> None:
    """At batch 1 decode time is exactly the number of steps its drafts leave, times the pass time."""
    workload = requests(50, per_second=0.01)
    for served in played(workload, k=k, machine=FLAT).served:
        request = served.job.request
        steps = steps_at(request.drafts, request.output_tokens, k).steps
        assert served.job.finished_s - served.job.first_token_s == pytest.approx(steps * 0.02)


def test_mean_decode_time_is_tokens_over_acceptance_length_times_the_pass() -> None:
    """(N - 1) / E[L] passes on average, E[L] = (1 - a^(k+1)) / (1 - a) where all requests are alike."""
    alike = ModelDrafting(0.7, concentration=1e6, fade=1.0)
    workload = requests(300, per_second=0.005, drafting=alike, output=always(201))
    served = played(workload, k=4, machine=FLAT).served
    measured_s = np.mean([each.job.finished_s - each.job.first_token_s for each in served])
    length = (1 - 0.7**5) / (1 - 0.7)
    assert measured_s == pytest.approx(200 / length * 0.02, rel=0.01)


def test_a_pass_costs_what_its_batch_costs() -> None:
    """Busy time adds up from the surface's pass times: two tokens' stair, verification, context and tiles."""
    surface = Staircase(plain_s=0.03, second_s=0.018, tile_s=0.03, tile_tokens=16, context_s=0.0)
    (request,) = requests(1, output=always(2), prompt=always(10))
    run = played([request], machine=replace(QUIET, surface=surface))
    assert run.busy_s[0] == pytest.approx((0.03 + 0.018) + 0.03)  # ten prompt tokens, then one of decoding


def test_every_request_finishes_once_with_all_its_tokens() -> None:
    """Nothing is lost, doubled or cut, at a load that fills slots and queues."""
    workload = requests(400, per_second=3.0)
    run = played(workload, k=4, engines=2)
    assert [served.job.request.number for served in run.served] == list(range(400))
    for served in run.served:
        steps = served.job.steps()
        assert steps.problem() is None
        assert steps.decode_tokens == served.job.request.output_tokens - 1
        assert served.job.request.arrival_s <= served.job.first_token_s <= served.job.finished_s


def test_the_same_seed_gives_the_same_run() -> None:
    """Workload, luck and noise follow from the seed alone."""
    runs = [played(requests(100, seed=seed), k=3, seed=seed) for seed in (1, 1, 2)]
    first, again, other = ([served.completion_s for served in run.served] for run in runs)
    assert first == again
    assert first != other


def test_sides_meet_the_same_answers() -> None:
    """Tokens per step at a higher k never fall below those at a lower one, request by request."""
    for request in requests(100):
        steps = [steps_at(request.drafts, request.output_tokens, k).steps for k in range(9)]
        assert steps == sorted(steps, reverse=True)


def test_busy_share_follows_the_utilisation_law() -> None:
    """At low load without batching the busy share is arrival rate times service time."""
    one_slot = replace(FLAT, slots=1)
    workload = requests(3000, per_second=0.2, output=always(100))
    run = played(workload, machine=one_slot)
    assert run.busy_s[0] / run.span_s == pytest.approx(0.2 * 100 * 0.02, rel=0.05)


def test_waiting_of_one_server_is_that_of_m_d_1() -> None:
    """One slot, equal services, Poisson arrivals: the mean wait is rho s / (2 (1 - rho))."""
    one_slot = replace(FLAT, slots=1)
    rate, service_s = 7.0, 0.1
    workload = requests(20_000, per_second=rate, output=always(5), prompt=always(4), max_k=0)
    waits = [served.completion_s - service_s for served in played(workload, machine=one_slot).served]
    rho = rate * service_s
    assert np.mean(waits) == pytest.approx(rho * service_s / (2 * (1 - rho)), rel=0.06)


def test_little_s_law_holds() -> None:
    """Requests in the system are the arrival rate times the time they spend there."""
    run = played(requests(1000, per_second=0.5), k=4)
    events = sorted(
        [(served.job.request.arrival_s, 1) for served in run.served]
        + [(served.job.finished_s, -1) for served in run.served]
    )
    area = there = last = 0.0
    for at_s, change in events:
        area += there * (at_s - last)
        there, last = there + change, at_s
    mean_there = area / run.span_s
    assert mean_there == pytest.approx(
        1000 / run.span_s * np.mean([served.completion_s for served in run.served])
    )


def test_a_table_sets_k_by_batch_size() -> None:
    """With k by batch size nothing is drafted where the table says 0, whatever the request may use."""
    workload = requests(50, per_second=0.1, even=True)
    run = played(workload, k=8, table=(0, 0, 8))
    assert all(served.job.steps().drafted == 0 for served in run.served)


def test_a_model_drafter_is_asked_for_the_batch_s_largest_k() -> None:
    """Where drafting takes passes of a model, everybody pays for the largest k in the batch."""
    seen = []

    class Spy:
        def __init__(self, fleet: object) -> None:
            self.engines = fleet

        def place(self, request, now_s):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            from bench.simulate.fleet import Placement

            return Placement(0, 5 if request.number == 0 else 1)

        def finished(self, job, now_s) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
            pass

        def passed(self, engine, load, seconds) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
            seen.append((load.requests, load.asked))

    played(requests(2, per_second=50.0, even=True), k=5, by_model=True, make=Spy)
    assert {asked for count, asked in seen if count == 2} == {5}


def test_passes_are_recorded_as_the_service_records_them() -> None:
    """A model drafter is asked for a token at least; one that copies is never asked."""
    recorded: list[StepLoad] = []

    class Listening(Static):
        def passed(self, engine: int, load: StepLoad, seconds: float) -> None:
            recorded.append(load)

    for by_model, k, asked in ((True, 3, {1.0, 3.0}), (False, 3, {0.0}), (True, 0, {0.0})):
        recorded.clear()
        played(requests(3), k=k, by_model=by_model, make=lambda fleet, k=k: Listening(fleet, k))  # type: ignore[misc]
        assert {load.asked for load in recorded} == asked

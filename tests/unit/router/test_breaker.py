import pytest

from router.breaker import BreakerSettings, BreakerState, CircuitBreaker

pytestmark = pytest.mark.unit

SETTINGS = BreakerSettings(failures_to_open=3, first_pause_s=1.0, growth=2.0, max_pause_s=5.0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(clock, SETTINGS)


def opened(breaker: CircuitBreaker) -> CircuitBreaker:
    for _ in range(3):
        assert breaker.allow()
        breaker.record_failure()
    return breaker


def test_single_failures_between_successes_never_open(breaker: CircuitBreaker) -> None:
    """Only failures in a row count."""
    for _ in range(20):
        breaker.record_failure()
        breaker.record_failure()
        breaker.record_success()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.allow()


def test_open_refuses_until_the_pause_is_over_then_lets_one_probe_through(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """After the pause exactly one caller may try."""
    opened(breaker)
    assert breaker.state is BreakerState.OPEN
    clock.now_s += 0.9
    assert not breaker.allow()
    assert breaker.retry_in_s == pytest.approx(0.1)
    clock.now_s += 0.1
    assert breaker.allow()
    assert breaker.state is BreakerState.HALF_OPEN
    assert not breaker.allow()


def test_pauses_grow_to_the_cap_while_probes_fail(breaker: CircuitBreaker, clock: Clock) -> None:
    """Each failed probe doubles the pause, up to the longest allowed."""
    opened(breaker)
    pauses = []
    for _ in range(5):
        pauses.append(breaker.retry_in_s)
        clock.now_s += breaker.retry_in_s
        assert breaker.allow()
        breaker.record_failure()
    assert pauses == pytest.approx([1.0, 2.0, 4.0, 5.0, 5.0])


def test_a_successful_probe_closes_and_forgets(breaker: CircuitBreaker, clock: Clock) -> None:
    """After recovery the next outage starts with the shortest pause again."""
    opened(breaker)
    for _ in range(4):
        clock.now_s += 5.0
        assert breaker.allow()
        breaker.record_failure()
    clock.now_s += 5.0
    assert breaker.allow()
    breaker.record_success()
    assert breaker.state is BreakerState.CLOSED
    assert opened(breaker).retry_in_s == pytest.approx(1.0)


def test_late_failures_of_calls_begun_before_opening_do_not_lengthen_the_pause(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """Only a failed probe makes the pause grow."""
    opened(breaker)
    breaker.record_failure()
    assert breaker.retry_in_s == pytest.approx(1.0)


def test_a_probe_that_never_reports_is_given_up(breaker: CircuitBreaker, clock: Clock) -> None:
    """A cancelled probe does not keep the breaker half-open for ever."""
    opened(breaker)
    clock.now_s += 1.0
    assert breaker.allow()
    clock.now_s += 1.0
    assert breaker.allow()

"""What replicas are told, and what Serve's controller makes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from ray.serve.config import AutoscalingConfig

from replicas.autoscaling import DEMAND, TOLD_S, DemandPolicy, Told
from replicas.deployment import ReplicaSpec, engine_deployment
from replicas.profiles import ModelSpec, Profile

pytestmark = pytest.mark.unit

NOW_S = 1000.0


class Clock:
    """A clock that stands until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def context(now: int, reports: list[list[tuple[float, float]]]) -> Any:
    """Of a pool with a target of `now` replicas, each of which reported these times and demands."""
    series = {
        f"replica-{number}": [SimpleNamespace(timestamp=at_s, value=value) for at_s, value in report]
        for number, report in enumerate(reports)
    }
    metrics = {DEMAND: series} if series else {}
    return SimpleNamespace(target_num_replicas=now, raw_metrics=metrics, current_time=NOW_S)


@pytest.fixture
def policy() -> DemandPolicy:
    """For one to eight engines of ten slots each."""
    return DemandPolicy(slots=10, target_load=1.0, least=1, most=8)


def test_a_replica_adds_up_what_routers_say() -> None:
    """The last word of each counts, and that of one that is silent does not."""
    clock = Clock()
    told = Told(clock)
    assert told.metrics() == {}
    told.note("a", 3.0)
    told.note("b", 4.0)
    told.note("a", 5.0)
    assert told.metrics() == {DEMAND: 9.0}
    clock.now_s = TOLD_S
    told.note("b", 4.0)
    assert told.metrics() == {DEMAND: 9.0}
    clock.now_s += 1.0
    assert told.metrics() == {DEMAND: 4.0}
    clock.now_s += TOLD_S
    assert told.metrics() == {}


def test_an_unknown_demand_changes_nothing(policy: DemandPolicy) -> None:
    """Before the first router has told, and once none tells any more: that is not a demand of zero."""
    assert policy(context(3, [])) == (3, {})
    assert policy(context(3, [[], []])) == (3, {})
    assert policy(context(3, [[(NOW_S - 61.0, 0.0)]])) == (3, {})


def test_the_newest_word_of_the_best_informed_replica_counts(policy: DemandPolicy) -> None:
    """A replica that just came has not heard of every router; what was reported before is past."""
    reports = [[(NOW_S - 20, 70.0), (NOW_S - 1, 42.0)], [(NOW_S - 2, 21.0)]]
    assert policy(context(1, reports)) == (5, {})


def test_serve_gets_the_settings(policy: DemandPolicy) -> None:
    """Bounds, delays and the policy, which its controller can make; and no number to fall back to."""
    scaling = {"min_replicas": 2, "max_replicas": 5, "target_load": 0.5, "downscale_delay_s": 60}
    profile = Profile.model_validate({"name": "v", "max_num_seqs": 8, "autoscaling": scaling})
    config = deployed(profile)._deployment_config.autoscaling_config
    assert isinstance(config, AutoscalingConfig)
    assert (config.min_replicas, config.max_replicas, config.initial_replicas) == (2, 5, None)
    assert (config.upscale_delay_s, config.downscale_delay_s) == (10.0, 60.0)
    assert "HomeFirst" in str(deployed(profile)._deployment_config.request_router_config.request_router_class)
    made = config.policy.get_policy()(**config.policy.policy_kwargs)
    assert made(context(2, [[(NOW_S, 17.0)]])) == (5, {})
    assert policy(context(2, [[(NOW_S, 17.0)]])) == (2, {})


def test_without_autoscaling_the_number_stands() -> None:
    """Serve scales nothing by itself."""
    deployment = deployed(Profile(name="v", replicas=3))
    assert deployment._deployment_config.autoscaling_config is None
    assert deployment.num_replicas == 3


@pytest.mark.parametrize(
    ("gpus", "on_cpu", "asked"), [(1, False, 1), (4, False, 4), (0.5, False, 0.5), (4, True, None)]
)
def test_an_engine_asks_ray_for_its_gpus(gpus: float, on_cpu: bool, asked: float | None) -> None:
    """All of them on one node, since one actor asks; on the CPU none."""
    deployment = deployed(Profile(name="v", gpus=gpus), on_cpu=on_cpu)
    assert deployment.ray_actor_options.get("num_gpus") == asked


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"autoscaling": {}}, "max_replicas"),
        ({"autoscaling": {"min_replicas": 3, "max_replicas": 2}}, r"min_replicas \(3\) must not be above"),
        ({"autoscaling": {"max_replicas": 2}, "replicas": 2}, "leave replicas out"),
        (
            {"autoscaling": {"max_replicas": 2, "headroom": 0.5}, "method": "ngram", "k": 3},
            "headroom is for pools without a drafter",
        ),
        ({"autoscaling": {"max_replicas": 2, "target_load": 0}}, "greater than 0"),
        ({"gpus": 1.5}, "only a part of one GPU can be shared"),
        ({"gpus": 0}, "greater than 0"),
        ({"gpus": float("inf")}, "less than or equal to 1024"),
        ({"gpus": float("nan")}, "greater than 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], complaint: str) -> None:
    """With a message that says what to do."""
    with pytest.raises(ValidationError, match=complaint):
        Profile.model_validate({"name": "p"} | settings)


def deployed(profile: Profile, *, on_cpu: bool = False) -> Any:
    """The Serve deployment of the pool."""
    spec = ReplicaSpec(profile, ModelSpec(path="/m"), on_cpu)
    return engine_deployment(spec, cores=(0,), drain_s=1.0)._bound_deployment

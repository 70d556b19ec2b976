"""What shadow mode would have brought: what it adds up, since when, and how it is told."""

from dataclasses import replace
from pathlib import Path

import pytest
from app_client import client_of
from fakes import Harness, policy_text

from policies.decide import Reason
from router.shadow import Shadow

pytestmark = pytest.mark.unit


async def test_shadow_mode_tells_what_it_would_have_saved(tmp_path: Path) -> None:
    """It serves vanilla, logs what it would have done, and adds up the predicted times of both."""
    shadow = Shadow()
    harness = await Harness(
        tmp_path, mode="shadow", hooks=[shadow.on_outcome], objective={"min_speedup": 1.0, "confidence": 0.5}
    ).ready()
    assert shadow.report()["predicted_speedup"] is None
    for _ in range(20):
        await harness.answer()
    assert {call.k for call in harness.vanilla.calls} == {0}
    assert not harness.ngram.calls
    assert {outcome.decision.reason for outcome in harness.outcomes} == {Reason.SHADOW}
    assert all(outcome.decision.intended for outcome in harness.outcomes)
    report = shadow.report()
    meant = [outcome.decision.intended for outcome in harness.outcomes]
    assert report["requests"] == report["tasks"][0]["requests"] == 20
    assert report["speculative_share"] == sum(arm is not None and arm[1] > 0 for arm in meant) / 20
    assert report["predicted_saving"] == pytest.approx(1 - 1 / report["predicted_speedup"])
    assert report["measured_share"] == 0.0
    async with client_of(harness, shadow=shadow) as client:
        assert (await client.get("/admin/v1/shadow")).json() == report
    harness.policy_file.write_text(policy_text("again", mode="shadow"))
    harness.policies.reload()
    harness.clock.now_s += 60
    for _ in range(3):
        await harness.answer()
    late = replace(harness.outcomes[0], at_s=harness.clock.now_s, total_s=60.0)
    shadow.on_outcome(late)  # a long answer that the policy before had begun
    assert shadow.report()["requests"] == 3

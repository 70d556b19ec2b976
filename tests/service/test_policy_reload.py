"""The policy file, edited while the service runs."""

from __future__ import annotations

import time

import pytest
from whole_service import POLICY, Service

pytestmark = pytest.mark.engine


def _in_force(service: Service, wanted: str, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if service.chat("hi", max_tokens=1).headers["x-specroute-policy"].startswith(wanted):
            return True
    return False


def test_an_edited_policy_is_in_force_within_five_seconds(service: Service) -> None:
    """An edit takes effect without a restart; a broken one changes nothing and is reported."""
    service.policy.write_text(POLICY.replace("name: tests", "name: edited"), encoding="utf-8")
    assert _in_force(service, "edited@")
    service.policy.write_text(POLICY.replace("enable_above: 0.30", "enable_abov: 0.30"), encoding="utf-8")
    deadline = time.monotonic() + 5
    while (rejected := service.admin("policy")["rejected"]) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "did you mean 'enable_above'" in rejected
    assert service.chat("hi", max_tokens=1).headers["x-specroute-policy"].startswith("edited@")
    service.policy.write_text(POLICY, encoding="utf-8")
    assert _in_force(service, "tests@")

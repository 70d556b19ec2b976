"""The policy file, edited while the service runs."""

from __future__ import annotations

import pytest
from waiting import until
from whole_service import POLICY, Service

pytestmark = pytest.mark.engine


def _in_force(service: Service, wanted: str) -> bool:
    return service.chat("hi", max_tokens=1).headers["x-specroute-policy"].startswith(wanted)


def test_an_edited_policy_is_in_force(service: Service) -> None:
    """An edit takes effect without a restart; a broken one changes nothing and is reported."""
    service.policy.write_text(POLICY.replace("name: tests", "name: edited"), encoding="utf-8")
    seconds = until(lambda: _in_force(service, "edited@"))
    print(f"in force after {seconds:.2f} s; the contract says 5")
    service.policy.write_text(POLICY.replace("enable_above: 0.30", "enable_abov: 0.30"), encoding="utf-8")
    until(lambda: service.admin("policy")["rejected"])
    assert "did you mean 'enable_above'" in service.admin("policy")["rejected"]
    assert _in_force(service, "edited@")
    service.policy.write_text(POLICY, encoding="utf-8")
    until(lambda: _in_force(service, "tests@"))

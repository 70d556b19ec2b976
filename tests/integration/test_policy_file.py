"""The policy file, edited while the service runs."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from services import MODEL, Service, policy
from waiting import ANSWER_S, until

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def restored(policy_file: Path, service: Service) -> Iterator[None]:
    """Puts the shared policy back."""
    text = policy_file.read_text()
    yield
    policy_file.write_text(text)
    until(lambda: in_force(service).startswith("shared@"))


def in_force(service: Service) -> str:
    """The policy that decided a request of now."""
    body = {"model": MODEL, "prompt": "hello", "max_tokens": 1}
    response = httpx.post(f"{service.url}/v1/completions", json=body, timeout=ANSWER_S)
    return response.raise_for_status().headers["x-specroute-policy"]


def test_an_edited_policy_is_in_force(service: Service, policy_file: Path) -> None:
    """Header and admin API name the new one; the contract's five seconds are printed, not judged."""
    policy_file.write_text(policy("edited", mode="always_vanilla"))
    waited = until(lambda: in_force(service).startswith("edited@"))
    print(f"in force after {waited:.2f} s")
    state = service.get("/admin/v1/policy")
    assert (state["name"], state["rejected"]) == ("edited", None)


def test_a_broken_policy_changes_nothing_and_is_reported(service: Service, policy_file: Path) -> None:
    """The old one decides on; the admin API, the log and the metrics say what is wrong."""
    before = in_force(service)
    policy_file.write_text(policy("broken", mood="bad"))
    until(lambda: service.get("/admin/v1/policy")["rejected"])
    state = service.get("/admin/v1/policy")
    assert "spec.mood" in state["rejected"]
    assert in_force(service) == before == f"{state['name']}@{state['revision']}"
    until(lambda: "policy rejected" in service.stderr)
    assert 'rejected_newer="true"' in httpx.get(f"{service.url}/metrics", timeout=ANSWER_S).text
    policy_file.unlink()
    until(lambda: "No such file" in service.get("/admin/v1/policy")["rejected"])
    assert in_force(service) == before

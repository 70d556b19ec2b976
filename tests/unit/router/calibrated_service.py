"""A service as a calibration sees it, without a network: it answers at once, with an acceptance by domain."""

import json
from pathlib import Path
from random import Random
from typing import Any

import httpx

from policies.calibrating import PoolFacts
from policies.cost import StepTime, calibrated_profile, calibration
from router.calibrating.options import Options
from router.calibrating.service import Facts

POLICY = """\
apiVersion: specroute/v1
kind: RoutingPolicy
metadata: {name: mine}
spec: {mode: adaptive, allow_overrides: true}
"""
FACTS = Facts(
    model="m",
    max_model_len=None,
    policy=POLICY,
    policy_name="mine@0123",
    pools=(PoolFacts("vanilla", "none", 0, 1, 8), PoolFacts("ngram", "ngram", 8, 1, 8)),
    lookups={},
    in_flight=0,
)
STEP_S = 0.01
COST = calibration(
    {
        name: {**calibrated_profile(StepTime(STEP_S, wide=STEP_S / 2), 0.05, 900), "source": "measured"}
        for name in ("vanilla", "ngram")
    },
    model="m",
    machine="two cores",
)
STEPS = 20


class PretendedService:
    """Answers requests for completions; `alphas` by task, `problems` are answered first, one each.

    Prompts that end with `refused` are refused.
    """

    def __init__(self, **alphas: float) -> None:
        self.alphas = alphas
        self.problems: list[httpx.Response] = []
        self.refused: str | None = None
        self.asked: list[tuple[dict[str, Any], httpx.Headers]] = []
        self.besides: dict[str, Any] = {}
        self.told: dict[str, Any] = {}

    @property
    def transport(self) -> httpx.MockTransport:
        """Stands in for the network."""
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.asked.append((body, request.headers))
        if self.problems:
            return self.problems.pop(0)
        if self.refused is not None and body["messages"][-1]["content"].endswith(self.refused):
            return httpx.Response(400, json={"error": {"message": "too long"}})
        k, task = int(request.headers.get("x-specroute-k", 0)), request.headers["x-specroute-task"]
        rng, accepted = Random(request.content + bytes([k])), []
        for _ in range(STEPS):
            run = 0
            while run < k and rng.random() < self.alphas[task]:
                run += 1
            accepted.append(run)
        details = {
            "reason": "override",
            "task": task,
            "tenant": "anonymous",
            "profile": request.headers["x-specroute-profile"],
            "k": k,
            "completion_tokens": 1 + STEPS + sum(accepted),
            "measured_s": STEPS * STEP_S * (1.5 if k else 1.0),
            "ttft_s": 0.02,
            "per_step_drafted": [k] * STEPS,
            "per_step_accepted": accepted,
            "failovers": 0,
            **self.told,
        }
        answer = {"choices": [{"message": {}}], "usage": {"prompt_tokens": 30}, "specroute": details}
        return httpx.Response(200, json={**answer, **self.besides})


def options(folder: Path, **changes: Any) -> Options:
    """Options with eight prompts of two tasks, in `folder` as the results are."""
    prompts = folder / "prompts.jsonl"
    if not prompts.exists():
        rows = [{"task": task, "prompt": f"{task} {n}"} for task in ("code", "creative") for n in range(8)]
        prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values: dict[str, Any] = {
        "prompts": prompts,
        "url": "http://service",
        "output": folder / "out",
        "per_domain": 8,
        "budget_s": None,
        "max_tokens": 64,
        "ks": (2, 4),
        "temperatures": (0.0, 1.0),
        "top_ps": (1.0,),
        "batches": (1, 4),
        "seed": 1,
        "api_key": None,
        "fresh": False,
        "check": False,
        "as_json": True,
    }
    return Options(**{**values, **changes})

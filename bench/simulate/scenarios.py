"""The scenarios: fleets, traffic, and the sides that are compared on them.

Every side of a scenario has the same number of engines. `speculative` of adaptive's are fixed beforehand to
have a drafter; the others of its engines have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bench.simulate.drafting import CopyingDrafting, Drafting, ModelDrafting
from bench.simulate.scenario import Scenario
from bench.simulate.surfaces import CPU, H200_EAGLE3, H200_NGRAM
from bench.simulate.workload import Lengths, Pace, TaskLoad, TenantLoad, Traffic
from policies.cost import StepShape

COPYING: Final = MappingProxyType(
    {
        "math": CopyingDrafting(0.70, 16, 0.08),
        "reasoning": CopyingDrafting(0.60, 24, 0.12),
        "summarization": CopyingDrafting(0.70, 6, 0.08),
        "translation": CopyingDrafting(0.50, 24, 0.20),
        "rag": CopyingDrafting(0.50, 16, 0.20),
        "extraction": CopyingDrafting(0.50, 16, 0.16),
        "sql": CopyingDrafting(0.60, 4, 0.08),
        "creative": CopyingDrafting(0.40, 6, 0.04),
        "legal": CopyingDrafting(0.28, 24, 0.13),
        "structured": CopyingDrafting(0.30, 4, 0.20),
        "code": CopyingDrafting(0.30, 4, 0.08),
        "chat": CopyingDrafting(0.20, 6, 0.16),
        "qa": CopyingDrafting(0.05, 16, 0.16),
        "support": CopyingDrafting(0.05, 24, 0.08),
    }
)
"""Copying processes with c_1 and L as docs/decisions/0004 measured them (n-gram, k = 8, 64 tokens)."""

MODEL: Final = MappingProxyType(
    {
        "code": ModelDrafting(0.80),
        "sql": ModelDrafting(0.82),
        "math": ModelDrafting(0.74),
        "rag": ModelDrafting(0.68),
        "chat": ModelDrafting(0.58),
        "translation": ModelDrafting(0.55),
        "creative": ModelDrafting(0.42),
    }
)
"""Model drafters by task: within or near the ranges of `policies.priors` for two-model speculation, but for
creative text and translation, which are put lower to span what EAGLE heads show."""

_NGRAM_KS: Final = (1, 2, 4, 8)
_ANSWERS: Final = Lengths(110, 0.6, 8, 400)
_PROMPTS: Final = Lengths(500, 0.7, 16, 4000)
_SHORT_PROMPTS: Final = Lengths(200, 0.7, 16, 1500)
_LONG_PROMPTS: Final = Lengths(12_000, 0.4, 2000, 30_000)
_MAX_TOKENS: Final = 400

_MIX: Final = MappingProxyType(
    {"code": 3.0, "sql": 1.0, "math": 1.0, "rag": 1.0, "chat": 2.0, "translation": 1.0, "creative": 2.0}
)


def _load(
    drafting: Mapping[str, Drafting], shares: Mapping[str, float], prompt: Lengths = _PROMPTS
) -> tuple[TaskLoad, ...]:
    return tuple(
        TaskLoad(task, share, drafting[task], prompt, _ANSWERS, _MAX_TOKENS) for task, share in shares.items()
    )


def _drifting(fall_s: float, rise_s: float) -> TaskLoad:
    """A task whose acceptance falls from 0.75 to 0.40 and comes back."""
    good = ModelDrafting(0.75)
    drifts = ((fall_s, ModelDrafting(0.40)), (rise_s, good))
    return TaskLoad("code", 7.0, good, _PROMPTS, _ANSWERS, _MAX_TOKENS, drifts=drifts)


_NOISE: Final = TaskLoad("code", 1.0, ModelDrafting(0.25), _PROMPTS, _ANSWERS, _MAX_TOKENS)

SCENARIOS: Final = (
    Scenario(
        name="steady-copying",
        about="n-gram lookup on four CPU engines, ten tasks, steady light load",
        machine=CPU,
        method="ngram",
        engines=4,
        speculative=4,
        static_ks=_NGRAM_KS,
        tpot_s=0.2,
        shape=StepShape(),
        traffic=Traffic(
            _load(
                COPYING,
                dict.fromkeys(
                    (
                        "code",
                        "sql",
                        "structured",
                        "math",
                        "qa",
                        "rag",
                        "creative",
                        "chat",
                        "support",
                        "legal",
                    ),
                    1.0,
                ),
                _SHORT_PROMPTS,
            ),
            (Pace(0, 0.8),),
            max(_NGRAM_KS),
        ),
    ),
    Scenario(
        name="loaded-copying",
        about="n-gram lookup on two GPU engines in batches of a hundred and more: every wasted draft costs",
        machine=H200_NGRAM,
        method="ngram",
        engines=2,
        speculative=2,
        static_ks=_NGRAM_KS,
        shape=StepShape(),
        traffic=Traffic(
            _load(
                COPYING,
                {"math": 2.0, "summarization": 1.0, "code": 2.0, "chat": 2.0, "qa": 2.0, "support": 2.0},
            ),
            (Pace(0, 40),),
            max(_NGRAM_KS),
        ),
        requests=4000,
        min_speedup=1.0,
        confidence=0.5,
    ),
    Scenario(
        name="steady-model",
        about="EAGLE-3 on two GPU engines, seven tasks, steady light load",
        machine=H200_EAGLE3,
        engines=2,
        speculative=2,
        traffic=Traffic(_load(MODEL, _MIX), (Pace(0, 6),), 7),
    ),
    Scenario(
        name="bursts",
        about="the same, calm but for bursts of eight times the load",
        machine=H200_EAGLE3,
        engines=2,
        speculative=2,
        traffic=Traffic(
            _load(MODEL, _MIX),
            tuple(Pace(60.0 * n + at, rate) for n in range(60) for at, rate in ((0, 4), (40, 32))),
            7,
        ),
    ),
    Scenario(
        name="drift",
        about="the main task's acceptance falls from 0.75 to 0.40 and comes back; requests are mostly alone",
        machine=H200_EAGLE3,
        engines=2,
        speculative=2,
        traffic=Traffic(
            (_drifting(1200.0, 2400.0), *_load(MODEL, {"chat": 2.0, "math": 1.0})), (Pace(0, 0.5),), 7
        ),
        watched="code",
        requests=2000,
    ),
    Scenario(
        name="drift-loaded",
        about="the same in batches of twenty, where the batch's largest k is everybody's cost",
        machine=H200_EAGLE3,
        engines=2,
        speculative=2,
        traffic=Traffic(
            (_drifting(60.0, 100.0), *_load(MODEL, {"chat": 2.0, "math": 1.0})), (Pace(0, 20),), 7
        ),
        watched="code",
    ),
    Scenario(
        name="noisy-tenant",
        about="one tenant floods a task with text that its drafter cannot foresee",
        machine=H200_EAGLE3,
        engines=2,
        speculative=2,
        traffic=Traffic(
            _load(MODEL, _MIX),
            (Pace(0, 10), Pace(60, 24), Pace(120, 10)),
            7,
            tenants=(TenantLoad("acme", 0.4), TenantLoad("globex", 0.2), TenantLoad("noisy", 0.4, (_NOISE,))),
        ),
    ),
    Scenario(
        name="long-contexts",
        about="prompts of 12,000 tokens: reading them and the cache outweighs the weights",
        machine=H200_EAGLE3,
        engines=4,
        speculative=4,
        traffic=Traffic(
            _load(MODEL, {"rag": 2.0, "code": 1.0, "creative": 1.0}, _LONG_PROMPTS), (Pace(0, 3),), 7
        ),
        requests=1500,
    ),
    Scenario(
        name="saturation",
        about="for half a minute more than a plain fleet can serve, then less; half the engines are plain",
        machine=H200_EAGLE3,
        engines=2,
        speculative=1,
        traffic=Traffic(_load(MODEL, _MIX), (Pace(0, 20), Pace(30, 55), Pace(60, 20)), 7),
    ),
    Scenario(
        name="large-batches",
        about="a model drafter at batches of fifty, where few drafts pay; one engine of three is plain",
        machine=H200_EAGLE3,
        engines=3,
        speculative=2,
        traffic=Traffic(_load(MODEL, _MIX), (Pace(0, 48),), 7),
        requests=4000,
    ),
)

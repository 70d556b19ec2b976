"""How long a step takes, learned from steps: the cost model, and what else a completion time is made of."""

from policies.cost.calibration import (
    Calibrated,
    CalibrationError,
    acceptance_entry,
    calibrated_profile,
    calibration,
    parse_acceptance,
    parse_calibration,
    parse_routes,
)
from policies.cost.fit import SEED_ERROR, Fit, fit
from policies.cost.latency import OutputLengths, PromptLengths, ServiceTimes, prefill_s, queue_wait_s
from policies.cost.moments import StepMoments
from policies.cost.pace import Pace, believed_pace, shared_pace
from policies.cost.prediction import Accuracy, PredictionError
from policies.cost.recorder import HALF_LIFE_STEPS, StepRecorder
from policies.cost.rehearsals import Rehearsals
from policies.cost.steps import StepLoad, StepShape, StepTime, seed

__all__ = [
    "HALF_LIFE_STEPS",
    "SEED_ERROR",
    "Accuracy",
    "Calibrated",
    "CalibrationError",
    "Fit",
    "OutputLengths",
    "Pace",
    "PredictionError",
    "PromptLengths",
    "Rehearsals",
    "ServiceTimes",
    "StepLoad",
    "StepMoments",
    "StepRecorder",
    "StepShape",
    "StepTime",
    "acceptance_entry",
    "believed_pace",
    "calibrated_profile",
    "calibration",
    "fit",
    "parse_acceptance",
    "parse_calibration",
    "parse_routes",
    "prefill_s",
    "queue_wait_s",
    "seed",
    "shared_pace",
]

"""The step time of a pool, from what its replicas report."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from policies.cells import CellKey, decay_factor
from policies.cost import (
    SEED_ERROR,
    Accuracy,
    Calibrated,
    CalibrationError,
    Fit,
    Pace,
    Rehearsals,
    StepLoad,
    StepMoments,
    StepTime,
    believed_pace,
    calibrated_profile,
    fit,
    parse_acceptance,
    parse_calibration,
    parse_routes,
)
from policies.decide import Route
from replicas.profiles import Profile

_log = logging.getLogger(__name__)

Source = Literal["seed", "calibration", "measured"]

_SILENT_S: Final = 60.0
"""A replica that was not heard of for so long is gone."""
_ENOUGH_STEPS: Final = 200.0
"""Steps of replicas that are there, before those of one that is gone are let go."""
_MAX_REPLICAS: Final = 1024

_IDLE_HALF_LIFE_S: Final = 60.0

_SHAPE_ERROR: Final = 0.15
"""What a shape that was measured elsewhere is off by here."""
_LEAST_ERROR: Final = 0.02
"""What a mean over any number of steps is off by tomorrow."""
_SHAPE_STEPS: Final = 20.0
_USUAL: Final = StepLoad(requests=1.0, context=256.0)


def error_of_many(error: float, steps: float) -> float:
    """What many passes together are off by, where single ones are by `error` and `steps` were measured."""
    return math.hypot(_LEAST_ERROR, error / math.sqrt(1.0 + steps / _SHAPE_STEPS))


@dataclass(frozen=True, slots=True)
class _Report:
    moments: StepMoments
    refused: int
    at_s: float


class PoolCost:
    """One pool's step time: the seed, or the calibration, until its replicas have steps of their own.

    Every replica reports the moments of all its steps, so the newest report of each is all there is to know,
    however many routers ask and how often.
    """

    def __init__(self, profile: Profile, calibrated: Calibrated | None = None) -> None:
        self._profile = profile.name
        self._seed = calibrated.step_time if calibrated else profile.step_cost.seed()
        self._seed_error = calibrated.relative_error if calibrated else SEED_ERROR
        self._start_steps = calibrated.steps if calibrated else 0.0
        self._start: Source = "calibration" if calibrated else "seed"
        self._reports: dict[str, _Report] = {}
        self._rehearsals = Rehearsals(self._seed)
        self._fit = Fit(self._seed, self._seed_error, 0.0)
        self._nonsense = 0
        self._moved_s = -math.inf

    @property
    def step_time(self) -> StepTime:
        """How long a pass takes, in seconds."""
        return self._fit.step_time

    def pace(self, now_s: float) -> Pace | None:
        """How fast it is beside its calibration; None where it has none."""
        if self._start != "calibration":
            return None
        expected_s = self._seed.seconds(_USUAL)
        slower = self.usual_s / expected_s if expected_s > 0 else 0.0
        return Pace(slower, self.steps, self._lately(now_s))

    def believed(self, now_s: float, fastest_s: float | None, shared: float | None = None) -> StepTime:
        """The step time to decide with.

        Where all pools are calibrated, one is believed to be apart from them, whose pace is `shared`, as its
        steps show (`policies.cost.pace`). Else it is compared with `fastest_s`, a plain pass of the fastest
        pool that was measured of late: the longer it has been idle the more it is taken to be as fast, until
        it is tried again. One that was never measured has its profile's shape on the others' machine.
        """
        if shared is not None and (pace := self.pace(now_s)) is not None:
            if not pace.known:
                return self._seed.times(shared)
            return self.step_time.times(believed_pace(pace, shared) / pace.slower)
        own_s = self.usual_s
        if fastest_s is None or own_s <= 0:
            return self.step_time
        if self.source == "seed":
            return self.step_time.times(fastest_s / own_s)
        if own_s <= fastest_s:
            return self.step_time
        return self.step_time.times((fastest_s / own_s) ** (1.0 - self._lately(now_s)))

    def _lately(self, now_s: float) -> float:
        """1 while steps are reported, halving with every minute without."""
        return decay_factor(now_s - self._moved_s, _IDLE_HALF_LIFE_S)

    @property
    def usual_s(self) -> float:
        """A plain pass of one request of usual length, in seconds: how fast the pool is beside others."""
        return self.step_time.seconds(_USUAL)

    def measured_of_late(self, now_s: float) -> bool:
        """Whether steps were reported in the last minute."""
        return self.source == "measured" and now_s - self._moved_s <= _SILENT_S

    @property
    def error(self) -> float:
        """The relative error of single passes: see `policies.cost.Fit`."""
        return self._fit.relative_error

    @property
    def mean_error(self) -> float:
        """The relative error of what many passes take together: it falls as steps are measured.

        Those behind a calibration count as well: it is of this hardware.
        """
        shape = self.error if self._start == "calibration" else _SHAPE_ERROR
        return error_of_many(shape, self.steps + self._start_steps)

    @property
    def steps(self) -> float:
        """Steps behind it."""
        return self._fit.steps

    @property
    def source(self) -> Source:
        """Where the step time comes from."""
        return "measured" if self._fit.steps else self._start

    @property
    def refused(self) -> int:
        """Records that could not be true: passes at the replicas, and whole reports here."""
        return self._nonsense + sum(report.refused for report in self._reports.values())

    def report(self, status: Mapping[str, Any], now_s: float) -> None:
        """Take in a replica's status. What cannot be moments of steps is logged once, counted and ignored."""
        if "step_moments" not in status:
            return
        try:
            moments = StepMoments.from_list(status["step_moments"])
            rehearsal = StepMoments.from_list(given) if (given := status.get("rehearsal")) else None
        except (TypeError, ValueError) as error:
            if not self._nonsense:
                _log.warning("pool %s: ignored what a replica says of its steps: %s", self._profile, error)
            self._nonsense += 1
            return
        given = status.get("refused_steps", 0)
        refused = given if isinstance(given, int) and given > 0 else 0
        if refused and not self.refused:
            _log.warning("pool %s: an engine recorded passes that cannot be true; ignored", self._profile)
        name = str(status.get("replica"))
        known = self._reports.get(name)
        if moments.steps > 0 and (known is None or known.moments.to_list() != moments.to_list()):
            self._moved_s = now_s
        self._reports[name] = _Report(moments, refused, now_s)
        if rehearsal is not None and rehearsal.steps > 0:
            self._rehearsals.note(name, rehearsal)
        self._forget_the_gone(now_s)
        total = StepMoments.empty()
        for report in self._reports.values():
            total = total.merged(report.moments)
        if self._start == "calibration":
            self._fit = fit(total, self._seed, seed_error=self._seed_error, calibrated=True)
        else:
            self._fit = self._rehearsals.fitted(total)

    def _forget_the_gone(self, now_s: float) -> None:
        """A replica that is gone speaks for the pool until those that are there have something to say."""
        here = {name for name, report in self._reports.items() if now_s - report.at_s <= _SILENT_S}
        known = sum(self._reports[name].moments.steps for name in here)
        if known >= _ENOUGH_STEPS or len(self._reports) > _MAX_REPLICAS:
            self._reports = {name: self._reports[name] for name in here}

    def entry(self, accuracy: Accuracy | None, believed: StepTime | None = None) -> dict[str, Any]:
        """This pool in `GET /admin/v1/cost`, in the form of a calibration file.

        `believed` is what decisions take for its step time.
        """
        own_s = self.usual_s
        ratio = believed.seconds(_USUAL) / own_s if believed is not None and own_s > 0 else 1.0
        return {
            **calibrated_profile(self.step_time, self.error, self.steps),
            "source": self.source,
            "believed_over_measured": round(ratio, 4),
            "refused_records": self.refused,
            "predicted_over_measured": round(accuracy.ratio, 4) if accuracy else None,
            "prediction_spread": round(accuracy.spread, 4) if accuracy else None,
        }


def read_calibration(path: Path) -> Mapping[str, Calibrated]:
    """The step times in the calibration file at `path`.

    Raises:
        CalibrationError: It cannot be read or used; one line.
    """
    return parse_calibration(_text(path), str(path))


def read_acceptance(path: Path) -> Mapping[CellKey, Mapping[str, float]]:
    """The acceptance in the calibration file at `path`.

    Raises:
        CalibrationError: It cannot be read or used; one line.
    """
    return parse_acceptance(_text(path), str(path))


def read_routes(path: Path) -> Mapping[str, Route]:
    """The routes that the calibration file at `path` starts with, by task.

    Raises:
        CalibrationError: It cannot be read or used; one line.
    """
    return parse_routes(_text(path), str(path))


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CalibrationError(f"calibration: cannot read {path}: {error.strerror}") from None

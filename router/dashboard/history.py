"""How figures went in the last hours: a ring of samples in memory, as many as fit and no more."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

EVERY_S: Final = 10.0
KEPT_S: Final = 6 * 3600.0
_KEPT: Final = int(KEPT_S / EVERY_S)
_SLACK: Final = 60
"""So many samples beyond what is kept are dropped at once: moving arrays is work."""
_MOST_SERIES: Final = 240
"""Of 6 h with three values: 26 kB each, 6 MB in all."""
_RATE_SAMPLES: Final = 6
_UNKNOWN: Final = math.nan


class SeriesKey(NamedTuple):
    """Names a series: alpha on a profile, or with profile None the traffic."""

    task: str
    tenant: str | None
    profile: str | None


Values = tuple[float | None, float | None, float | None]
"""Alpha and its interval; or requests in a sample's time, speculative ones of them, the sum of their k."""


class History:
    """Samples of many series at common times, every ten seconds for six hours.

    Of more than 240 series those are dropped that had nothing to tell for longest; of several, tenants first.
    """

    def __init__(self) -> None:
        self._times = array("d")
        self._series: dict[SeriesKey, tuple[array[float], array[float], array[float]]] = {}
        self._newest: dict[SeriesKey, int] = {}
        self.samples = 0
        """How many were ever taken."""

    def sample(self, now_s: float, values: Mapping[SeriesKey, Values]) -> None:
        """Add a sample; series that are not in it have none at this time."""
        self.samples += 1
        for key in values:
            if key not in self._series:
                blank = [_UNKNOWN] * len(self._times)
                self._series[key] = (array("f", blank), array("f", blank), array("f", blank))
        self._times.append(now_s)
        for key, columns in self._series.items():
            told = values.get(key)
            if told is not None:
                self._newest[key] = self.samples
            for column, value in zip(columns, told or (None, None, None), strict=True):
                column.append(_UNKNOWN if value is None else value)
        self._trim()

    def alphas(self, tenant: str | None, *, window_s: float, most: int) -> dict[str, Any]:
        """Alpha of all the tenant's tasks over the last `window_s`, without intervals; see `task`."""
        return self._told(
            window_s, most, lambda key: key.tenant == tenant and key.profile is not None, columns=1
        )

    def task(self, tenant: str | None, task: str, *, window_s: float, most: int) -> dict[str, Any]:
        """The series of one of the tenant's tasks over the last `window_s`, at most `most` points each.

        `{"times": […], "every_s": …, "series": [{task, profile, values: [[…], […], […]]}]}`: times are the
        ends of equal numbers of samples, alpha is averaged over them, traffic (profile null) is added up;
        null where nothing is known.
        """
        return self._told(window_s, most, lambda key: (key.tenant, key.task) == (tenant, task), columns=3)

    def per_second(self, tenant: str | None) -> float | None:
        """The tenant's requests per second, of the last minute; None before the first sample."""
        samples = min(len(self._times), _RATE_SAMPLES)
        if not samples:
            return None
        requests = sum(
            value
            for key, columns in self._series.items()
            if key.profile is None and key.tenant == tenant
            for value in columns[0][-samples:]
            if not math.isnan(value)
        )
        return requests / (samples * EVERY_S)

    def _told(
        self, window_s: float, most: int, takes: Callable[[SeriesKey], bool], *, columns: int
    ) -> dict[str, Any]:
        begin = self._begin(window_s)
        size = max(1, math.ceil((len(self._times) - begin) / most))
        ends = range(len(self._times), begin, -size)
        spans = [(max(begin, end - size), end) for end in reversed(ends)]
        return {
            "times": [round(self._times[end - 1], 1) for _, end in spans],
            "every_s": EVERY_S * size,
            "series": [
                {
                    "task": key.task,
                    "profile": key.profile,
                    "values": [
                        _reduced(column, spans, adds=key.profile is None) for column in of_all[:columns]
                    ],
                }
                for key, of_all in sorted(self._series.items(), key=lambda item: _order(item[0]))
                if takes(key)
            ],
        }

    def __len__(self) -> int:
        return len(self._series)

    def _begin(self, window_s: float) -> int:
        if not self._times:
            return 0
        since_s = self._times[-1] - window_s
        begin = max(0, len(self._times) - math.ceil(window_s / EVERY_S) - 1)
        while begin < len(self._times) and self._times[begin] <= since_s:
            begin += 1
        return begin

    def _trim(self) -> None:
        if len(self._times) >= _KEPT + _SLACK:
            extra = len(self._times) - _KEPT
            del self._times[:extra]
            for columns in self._series.values():
                for column in columns:
                    del column[:extra]
        if len(self._series) > _MOST_SERIES:
            oldest = sorted(self._series, key=lambda key: (self._newest[key], key.tenant is None))
            self._drop(oldest[: len(self._series) - _MOST_SERIES])
        self._drop([key for key in self._series if self.samples - self._newest[key] >= _KEPT])

    def _drop(self, keys: Iterable[SeriesKey]) -> None:
        for key in keys:
            del self._series[key], self._newest[key]


def _reduced(column: array[float], spans: Iterable[tuple[int, int]], *, adds: bool) -> list[float | None]:
    found: list[float | None] = []
    for begin, end in spans:
        known = [value for value in column[begin:end] if not math.isnan(value)]
        if not known:
            found.append(None)
        else:
            found.append(round(sum(known) if adds else sum(known) / len(known), 4))
    return found


def _order(key: SeriesKey) -> tuple[str, str]:
    return key.task, key.profile or ""

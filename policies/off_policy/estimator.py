"""What a candidate policy would have changed, from the requests another one decided.

Doubly robust (Dudik, Langford, Li: Doubly Robust Policy Evaluation and Learning, ICML 2011), for the
difference of the two policies. Let p and q be the logged and the candidate's probabilities of the arms a of
a request x, a* the arm that was taken, r its measured time, m(x, a) the predicted ones, w = q(a*) / p(a*):

    change = mean of  sum_a (q - p) m(x, a)  +  (w - 1) (r - m(x, a*))

The first part is right if the predictions are, the second corrects them by what was measured, wherever
the candidate would have done the same. Four refinements:

- Predictions are calibrated on the log first: one factor per group, from the other folds of clusters, so
  that no request corrects its own prediction (cross-fitting).
- The weights are divided by their mean (self-normalised; Swaminathan and Joachims 2015).
- They are clipped at sqrt(n) (truncated importance sampling; Ionides 2008). What clipping takes away rests on
  predictions alone, like what the log never shows; the interval is wider by as much as predictions err there.
- Across k (see `Trials`) a weight compares pools and routes, not single k, and the residual is taken relative
  to its prediction: right if predictions err alike for every k of a pool.

Intervals: the linearised estimator's variance between clusters, with Student's quantile for as many degrees
of freedom as the clusters' kurtosis leaves (Satterthwaite).
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np

from policies.off_policy.trials import Floats, Trials, Whole

_FOLDS: Final = 5
_PRIOR_REQUESTS: Final = 5.0
"""A group's factor is drawn to that of the whole log as by so many requests."""
_LEAST_CLIP: Final = 10.0
_LEAST_FREEDOM: Final = 3.0
_MOST_PULL: Final = 0.5


class Interval(NamedTuple):
    """An estimate and its interval."""

    estimate: float
    low: float
    high: float


class Effect(NamedTuple):
    """What the candidate changes in one measure, per request, in seconds.

    Attributes:
        logged: The mean that was measured.
        change: The candidate's mean minus that.
        relative: The same over `logged`.
        requests: Records it stands on.
        effective: Of those that show what the candidate does more often than the log, how many equally
            weighted ones would tell as much; infinite where it does nothing else.
        changed: The share of requests the candidate decides otherwise.
        unseen: The share that it decides as the log never shows, or hardly ever: clipped weights count too.
        clipped_s: How much clipping may have moved `change`, in seconds; inside the interval already.
    """

    logged: float
    change: Interval
    relative: Interval
    requests: int
    effective: float
    changed: float
    unseen: float
    clipped_s: float


class Calibrated(NamedTuple):
    """Trials with calibrated predictions.

    `error` is the root mean square of single requests' relative errors: more than what predictions err by on
    average for an arm that nobody saw.
    """

    trials: Trials
    error: float


def calibrated(trials: Trials) -> Calibrated:
    """Predictions times factors: measured over predicted, by group, each from the other folds of clusters."""
    groups = trials.logged.shape[1]
    fold = trials.cluster % _FOLDS
    cell = (fold, trials.group)
    measured, predicted, counted = (np.zeros((_FOLDS, groups)) for _ in range(3))
    np.add.at(measured, cell, trials.weight * trials.measured)
    np.add.at(predicted, cell, trials.weight * trials.predicted)
    np.add.at(counted, cell, trials.weight)
    # By fold, of all folds but that one.
    measured, predicted, counted = (sums.sum(0) - sums for sums in (measured, predicted, counted))
    everywhere = _over(measured.sum(1, keepdims=True), predicted.sum(1, keepdims=True), 1.0)
    prior = _PRIOR_REQUESTS * _over(predicted.sum(1, keepdims=True), counted.sum(1, keepdims=True), 1.0)
    factors = _over(measured + prior * everywhere, predicted + prior, 1.0)

    own = factors[fold, trials.group]
    of_request = factors[fold]
    moved = _over((trials.candidate * of_request).sum(1), trials.candidate.sum(1), 1.0)
    better = replace(
        trials,
        predicted=trials.predicted * own,
        matched=trials.matched * own,
        logged=trials.logged * of_request,
        candidate=trials.candidate * of_request,
        unseen_s=trials.unseen_s * moved,
    )
    errors = _over(better.measured, better.predicted, 1.0) - 1.0
    weight = better.weight / max(better.weight.sum(), 1e-300)
    return Calibrated(better, float(np.sqrt((weight * errors**2).sum())))


def effect(found: Calibrated, confidence: float) -> Effect:
    """The change of the measure's mean, of at least one trial."""
    trials, n = found.trials, len(found.trials)
    share = trials.weight / trials.weight.sum()
    clip = max(_LEAST_CLIP, math.sqrt(n))
    ratio = np.minimum(trials.ratio, clip)
    lost = trials.ratio - ratio

    logged = float(share @ trials.measured)
    direct = trials.candidate.sum(1) - trials.logged.sum(1)
    relative_error = _over(trials.measured, trials.predicted, 1.0) - 1.0
    here, there = trials.measured - trials.predicted, relative_error * trials.matched
    weights = share * ratio
    total = max(float(weights.sum()), 1e-300)
    change, before, after = float(share @ direct), float(share @ here), float(weights @ there) / total
    change += after - before

    # As in a jackknife: a request that pulls the weighted mean toward itself hides a part of its distance.
    pull = np.minimum(weights / total, _MOST_PULL)
    moved = pull / (1.0 - pull) * (there - after)
    influence = share * (direct - share @ direct) + moved - share * (here - before)
    level = share * (trials.measured - logged)
    clipped_s = float(share @ (lost * trials.matched)) * found.error
    extra = float(share @ trials.unseen_s) * found.error + clipped_s
    added = np.minimum(trials.added, clip) * share
    return Effect(
        logged=logged,
        change=interval(change, influence, trials.cluster, confidence, beyond=extra),
        relative=interval(
            change / logged,
            (influence - change / logged * level) / logged,
            trials.cluster,
            confidence,
            beyond=extra / logged,
        ),
        requests=n,
        effective=float(added.sum() ** 2 / (added**2).sum()) if added.any() else math.inf,
        changed=float(share @ trials.changed),
        unseen=float(share @ (trials.unseen + lost)),
        clipped_s=clipped_s,
    )


def interval(
    mean: float, influence: Floats, cluster: Whole, confidence: float, *, beyond: float = 0.0
) -> Interval:
    """Around a mean of n requests, what each adds to it beyond its share: summed by cluster, then Student's.

    `beyond` widens it on both sides.
    """
    sums = np.bincount(cluster, weights=influence)
    squares = sums[np.unique(cluster)] ** 2
    total = float(squares.sum())
    clusters = len(squares)
    if clusters < 2:  # noqa: PLR2004 - one cluster has no variance
        return Interval(mean, -math.inf, math.inf)
    if total == 0.0:
        return Interval(mean, mean - beyond, mean + beyond)
    kurtosis = float((squares**2).sum()) - total**2 / clusters
    freedom = 2.0 * total**2 / kurtosis if kurtosis > 0 else math.inf
    deviation = math.sqrt(total * clusters / (clusters - 1))
    half = student(confidence, min(freedom, clusters - 1.0)) * deviation + beyond
    return Interval(mean, mean - half, mean + half)


def student(confidence: float, freedom: float) -> float:
    """Student's two-sided quantile, by the expansion around the normal one (Abramowitz and Stegun 26.7.5).

    Fewer than 3 degrees of freedom count as 3: from there on it is within 1 % at 95 %.
    """
    v, z = max(freedom, _LEAST_FREEDOM), NormalDist().inv_cdf(0.5 + confidence / 2.0)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def _over(above: Floats, below: Floats, otherwise: float) -> Floats:
    """The ratio, where there is one."""
    return np.divide(above, below, out=np.full_like(above, otherwise), where=below > 0)

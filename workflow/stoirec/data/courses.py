"""Time courses as they were measured, at any times and with gaps, and smooth ones through them.

Where the differences between neighbouring values fall with the order of interpolation, they are curvature, and the
course goes through every value. Else they are noise, and it is a smoothing spline, in a time in which the beginning is
stretched where that predicts left-out values better: what starts anywhere moves fast at first.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline
from scipy.ndimage import uniform_filter1d

from stoirec.data.smoothing import FEWEST, smoothing_spline

_LOW, _HIGH = 4, 6  # neighbours that a value is compared with, by polynomials of one degree less
_CURVATURE = 0.5  # of what the lower order leaves: if the higher one leaves less, it is not noise
_ROUNDING = 1e-7  # of a metabolite's standard deviation: noise that is none
_EXACT = 1e-12  # of the largest value: what is left of a constant
_CUBIC = 3
_DEGREE = 5  # of a course through every value
_MOST_SMOOTHED = 400  # values of a noisy course that a spline is fitted to: means of neighbours, where there are more
_EARLY = (np.inf, 1 / 2, 1 / 6, 1 / 20, 1 / 60)  # of a run's duration, up to which time is as it is: then its logarithm
_NEAR = 5  # values whose mean says how large one is
_ASKED = 30  # series that choose among these
_SMALLEST = 0.02  # of the largest value: where errors are proportional to values, they do not fall below this part
MAD = 0.6745  # median absolute value of white noise of variance 1


@dataclass(frozen=True)
class Course:
    """One run.

    Attributes:
        time: (n,) [time unit], rising.
        value: (n, M) [concentration], NaN where nothing was measured.
        error: (n, M) standard deviations of the values [concentration], 0 where there is no noise.
        smooth: time -> (M,) [concentration], from the first time to the last.
    """

    time: np.ndarray
    value: np.ndarray
    error: np.ndarray
    smooth: BSpline

    def in_unit(self, unit: float) -> "Course":
        """The same with concentrations in multiples of `unit`."""
        spline = BSpline(self.smooth.t, self.smooth.c / unit, self.smooth.k)
        return replace(self, value=self.value / unit, error=self.error / unit, smooth=spline)

    def without(self, metabolites: np.ndarray) -> "Course":
        """The same without values of `metabolites`, which nobody measured."""
        value = self.value.copy()
        value[:, metabolites] = np.nan
        return replace(self, value=value)

    def with_columns(self, metabolites: np.ndarray, time: np.ndarray, concentration: np.ndarray) -> "Course":
        """The same with smooth courses of `metabolites` through `concentration` (T, metabolites) at `time` (T,)."""
        dense = _refined(self.time)
        every = self.smooth(dense)
        every[:, metabolites] = make_interp_spline(time, concentration, k=_CUBIC)(dense)
        return replace(self, smooth=_through(dense, every))

    def at(self, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(T, M) concentrations, not below 0, and derivatives."""
        return np.maximum(self.smooth(time), 0.0), self.smooth.derivative()(time)

    def times(self, number: int) -> np.ndarray:
        """`number` times that are as dense as the measured ones."""
        return np.interp(np.linspace(0, len(self.time) - 1, number), np.arange(len(self.time)), self.time)


def courses_of(
    times: list[np.ndarray], values: list[np.ndarray], errors: list[np.ndarray] | None = None
) -> tuple[tuple[Course, ...], np.ndarray]:
    """Smooth courses through all runs, and (M,) standard deviations of the measurements, 0 where there is no noise.

    Args:
        times: of each run (n,), rising; values: (n, M), NaN where nothing was measured.
        errors: (n, M) standard errors of the values, NaN where nobody knows them: then they are estimated.
    """
    noise, proportional = _noise(times, values)
    if errors is not None:
        every = np.concatenate(errors)
        known = np.isfinite(every).any(axis=0)
        noise[known] = np.sqrt(np.nanmean(every[:, known] ** 2, axis=0))
    deviations = [
        _deviations(value, noise, proportional, None if errors is None else errors[run])
        for run, value in enumerate(values)
    ]
    early = _stretched(times, values, deviations)
    courses = []
    for time, value, error in zip(times, values, deviations):
        dense = _refined(time)
        columns = [_smooth(time, series, own, early, dense) for series, own in zip(value.T, error.T)]
        courses.append(Course(time, value, error, _through(dense, np.stack(columns, axis=1))))
    return tuple(courses), noise


def _deviations(value: np.ndarray, noise: np.ndarray, proportional: bool, known: np.ndarray | None) -> np.ndarray:
    """(n, M) standard deviations of `value`: those known, else `noise` (M,) or as proportional to the values."""
    found = np.broadcast_to(noise, value.shape)
    if proportional:
        there = np.isfinite(value)
        level, share = (
            uniform_filter1d(each.astype(float), _NEAR, axis=0, mode="nearest")
            for each in (np.where(there, np.abs(value), 0.0), there)
        )
        level = level / share.clip(1 / _NEAR)
        level = np.maximum(level, _SMALLEST * level.max(axis=0))
        size = np.sqrt(np.mean(level**2, axis=0))
        found = noise * level / np.where(size > 0, size, 1.0)
    return found if known is None else np.where(np.isfinite(known), known, found)


def _through(dense: np.ndarray, values: np.ndarray) -> BSpline:
    """A course through values (n, M) at close times."""
    return make_interp_spline(dense, values, k=min(_DEGREE, len(dense) - 1))


def _stretched(times: list[np.ndarray], values: list[np.ndarray], errors: list[np.ndarray]) -> float:
    """Which of _EARLY predicts left-out values best, of a few noisy series of all runs."""
    noisy = [(run, place) for run in range(len(times)) for place in np.flatnonzero(errors[run].max(axis=0))]
    asked = noisy[:: max(1, len(noisy) // _ASKED)]
    parts = [_present(times[run], values[run][:, place], errors[run][:, place]) for run, place in asked]
    parts = [part for part in parts if len(part[0]) >= FEWEST and part[2].any()]
    return min(_EARLY, key=lambda early: sum(_spline(*part, early)[1] for part in parts))


def _refined(time: np.ndarray) -> np.ndarray:
    """Times at which a smooth course is known well enough to go on from there: a few between any two."""
    between = max(1, -(-_MOST_SMOOTHED // len(time)))
    return np.interp(np.arange((len(time) - 1) * between + 1) / between, np.arange(len(time)), time)


def _present(time: np.ndarray, series: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What was measured, in means of neighbours where there is more than a spline is fitted to."""
    there = np.isfinite(series)
    if there.sum() <= _MOST_SMOOTHED:
        return time[there], series[there], error[there]

    def means(values: np.ndarray) -> np.ndarray:
        return np.array([part.mean() for part in np.array_split(values[there], _MOST_SMOOTHED)])

    return means(time), means(series), means(error)


def _smooth(time: np.ndarray, series: np.ndarray, error: np.ndarray, early: float, at: np.ndarray) -> np.ndarray:
    """A course of one metabolite at times `at`, through `series` (n,), which may have gaps, but two values at least.

    Before its first value and after its last it stays as it is there.
    """
    there = np.isfinite(series)
    if not error[there].any() or there.sum() < FEWEST:
        own = time[there]
        return make_interp_spline(own, series[there], k=min(_DEGREE, len(own) - 1))(np.clip(at, own[0], own[-1]))
    time, series, error = _present(time, series, error)
    spline, _ = _spline(time, series, error, early)
    return (series.std() or 1.0) * spline(place_in_run(at, time[0], time[-1], early))


def _spline(time: np.ndarray, series: np.ndarray, error: np.ndarray, early: float) -> tuple[BSpline, float]:
    """A smoothing spline over the place in time, and its error; of values in multiples of their standard deviation: a
    unit of time and of concentration makes no difference.
    """
    weight = 1 / np.maximum(error, _SMALLEST * error.max()) ** 2
    place = place_in_run(time, time[0], time[-1], early)
    return smoothing_spline(place, series / (series.std() or 1.0), weight / weight.mean())


def place_in_run(time: np.ndarray, first: float, last: float, early: float) -> np.ndarray:
    """Between 0 and 1 within a run; times up to `early`, a part of its duration, have more of it."""
    share = np.clip((time - first) / (last - first), 0.0, 1.0)
    return share if early == np.inf else np.log1p(share / early) / np.log1p(1 / early)


def _noise(times: list[np.ndarray], values: list[np.ndarray]) -> tuple[np.ndarray, bool]:
    """(M,) standard deviations of measurements, and whether they are proportional to the values rather than constant.

    From what neighbours do not tell of a value (Gasser, Sroka and Jennen-Steinmetz, Biometrika 73, 1986).
    """
    n_metabolites = values[0].shape[1]
    noise, likely = np.zeros(n_metabolites), 0.0
    for metabolite in range(n_metabolites):
        left = {order: [] for order in (_LOW, _HIGH)}
        sizes = []
        for time, value in zip(times, values):
            there = np.isfinite(value[:, metabolite])
            series = value[there, metabolite]
            for order in left:
                left[order].append(_unpredicted(time[there], series, order))
            sizes.append(np.abs(series[_LOW // 2 : len(series) - _LOW // 2]))
        low, high = (np.concatenate(left[order]) for order in (_LOW, _HIGH))
        if len(high) < 2:
            continue
        typical = [np.median(np.abs(part)) / MAD for part in (low, high)]
        every = np.concatenate([value[:, metabolite] for value in values])
        rounding = max(_ROUNDING * np.nanstd(every), _EXACT * np.nanmax(np.abs(every)))
        if typical[1] > max(_CURVATURE * typical[0], rounding):
            noise[metabolite] = np.sqrt(np.mean(high**2))
            size = np.concatenate(sizes)
            likely += _log_likelihood(low, np.maximum(size, _SMALLEST * size.max())) - _log_likelihood(
                low, np.ones(len(low))
            )
    return noise, likely > 0


def _unpredicted(time: np.ndarray, series: np.ndarray, order: int) -> np.ndarray:
    """(n - order,) what the polynomial through a value's `order` neighbours leaves of it, of the variance of noise."""
    if len(time) <= order:
        return np.zeros(0)
    near = np.delete(np.lib.stride_tricks.sliding_window_view(time, order + 1), order // 2, axis=1)
    own = np.delete(np.lib.stride_tricks.sliding_window_view(series, order + 1), order // 2, axis=1)
    at = time[order // 2 : len(time) - order // 2, None]
    weight = np.stack(
        [
            np.prod(
                np.delete(at - near, place, axis=1) / np.delete(near[:, [place]] - near, place, axis=1),
                axis=1,
            )
            for place in range(order)
        ],
        axis=1,
    )
    return (series[order // 2 : len(time) - order // 2] - (weight * own).sum(1)) / np.sqrt(1 + (weight**2).sum(1))


def _log_likelihood(left: np.ndarray, size: np.ndarray) -> float:
    """Of noise `left` whose standard deviation is proportional to `size`."""
    scaled = left / size
    return float(-np.log(size).sum() - len(left) / 2 * np.log(np.mean(scaled**2) + np.finfo(float).tiny))

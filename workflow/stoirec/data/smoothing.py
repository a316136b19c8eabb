"""Smoothing splines, stiff by generalised cross-validation (Craven and Wahba, Numer. Math. 31, 1979).

All stiffnesses at once, in the basis in which smoothing is nothing but shrinking (Demmler and Reinsch, Numer. Math. 24,
1975): SciPy's own search of one of them takes ten times as long.
"""

import numpy as np
from scipy.interpolate import BSpline, make_smoothing_spline

FEWEST = 5  # values that a smoothing spline needs
_APART = 1e-6  # places
_BEYOND = 1e3  # times the stiffness at which the roughest, or the smoothest, mode is halved
_PER_DECADE = 10  # stiffnesses
_EACH = 1.4  # what a parameter counts: with 1 some courses follow the noise (Kim and Gu, J. R. Stat. Soc. B 66, 2004)


def smoothing_spline(place: np.ndarray, value: np.ndarray, weight: np.ndarray) -> tuple[BSpline, float]:
    """The spline through `value` (n,) at `place` (n,), from 0 to 1, and the log of its cross-validated error.

    It minimises sum w (f - value)^2 + lambda int f''^2; `weight` (n,) has mean 1.
    """
    place, value, weight = _told_apart(place, value, weight)
    modes, roughness = _modes(place, weight)
    amplitude = modes.T @ (np.sqrt(weight) * value)
    few, many = np.log10([1 / (_BEYOND * roughness[0]), _BEYOND / roughness[-1]])
    stiffness = np.logspace(few, many, int((many - few) * _PER_DECADE))
    left = stiffness[:, None] * roughness / (1 + stiffness[:, None] * roughness)  # shares of the modes
    taken = 2 + (1 - left).sum(axis=1)  # parameters that the spline is worth
    free = len(place) - _EACH * taken
    error = np.where(free >= 1, len(place) * (left**2 @ amplitude**2) / np.maximum(free, 1) ** 2, np.inf)
    best = error.argmin()
    spline = make_smoothing_spline(place, value, w=weight, lam=stiffness[best])
    return spline, float(np.log(error[best] + np.finfo(float).tiny))


def _told_apart(place: np.ndarray, value: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with means of values at places that are all but the same: between them nothing can be curved."""
    first = np.flatnonzero(np.diff(place, prepend=-1.0) > _APART)
    if len(first) == len(place) or len(first) < FEWEST:
        return place, value, weight
    total = np.add.reduceat(weight, first)
    means = [np.add.reduceat(weight * each, first) / total for each in (place, value)]
    return *means, total / total.mean()


def _modes(place: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, n - 2) orthonormal values over sqrt(weight), and (n - 2,) int f''^2 of each, falling.

    Straight lines have none.
    int f''^2 = f' Q R^-1 Q' f for the natural cubic spline through f (Green and Silverman 1994, section 2.1.2).
    """
    step, number = np.diff(place), len(place) - 2
    own = np.arange(number)
    second = np.zeros((len(place), number))  # Q
    second[own, own], second[own + 2, own] = 1 / step[:-1], 1 / step[1:]
    second[own + 1, own] = -1 / step[:-1] - 1 / step[1:]
    band = np.diag((step[:-1] + step[1:]) / 3) + np.diag(step[1:-1] / 6, 1) + np.diag(step[1:-1] / 6, -1)  # R
    factor = np.linalg.cholesky(band)
    modes, size, _ = np.linalg.svd(np.linalg.solve(factor, second.T).T / np.sqrt(weight)[:, None], full_matrices=False)
    return modes, size**2

"""Smoothing splines: cross-validation beside brute force, and what time is stretched for."""

import numpy as np
import pytest
from scipy.interpolate import make_smoothing_spline

from stoirec.data import courses
from stoirec.data.smoothing import _EACH, smoothing_spline


@pytest.fixture
def series():
    rng = np.random.default_rng(3)
    place = np.sort(np.r_[0, rng.random(38), 1])
    weight = rng.uniform(0.3, 1.7, 40)
    value = np.sin(5 * place) + 0.1 * rng.normal(size=40) / np.sqrt(weight)
    return place, value, weight / weight.mean()


def test_the_error_is_that_of_hat_matrices(series):
    place, value, weight = series
    by_hand = []
    for stiffness in np.logspace(-10, 2, 121):
        hat = np.stack(
            [make_smoothing_spline(place, one, w=weight, lam=stiffness)(place) for one in np.eye(40)], axis=1
        )
        residual = value - hat @ value
        free = 40 - _EACH * np.trace(hat)
        by_hand.append(40 * (weight * residual**2).sum() / free**2 if free > 0 else np.inf)
    spline, error = smoothing_spline(*series)
    assert np.exp(error) == pytest.approx(min(by_hand), rel=1e-3)
    left = value - spline(place)
    assert 0.08 < np.sqrt((weight * left**2).mean()) < 0.12


def test_values_on_a_line_stay_there():
    place = np.linspace(0, 1, 20)
    spline, _ = smoothing_spline(place, 3 - 2 * place, np.ones(20))
    np.testing.assert_allclose(spline(place), 3 - 2 * place, atol=1e-9)


def test_times_that_are_all_but_the_same_do_no_harm():
    rng = np.random.default_rng(0)
    place = np.sort(np.r_[0, 1, rng.random(20), 0.5 + 1e-9 * np.arange(4)])
    spline, _ = smoothing_spline(place, np.exp(-place) + 0.01 * rng.normal(size=26), np.ones(26))
    assert np.abs(spline(place) - np.exp(-place)).max() < 0.03


@pytest.mark.parametrize(("fast", "stretched"), [(0.0, False), (40.0, True)])
def test_time_is_stretched_where_courses_are_fast_at_first(fast, stretched):
    rng, time = np.random.default_rng(5), np.linspace(0, 7, 150)
    true = np.sin(2 * np.pi * time[:, None] / 7 * np.arange(1, 5)) if not fast else np.exp(-fast * time[:, None] / 7)
    value = true + 0.02 * rng.normal(size=(150, 4))
    early = courses._stretched([time], [value], [np.full((150, 4), 0.02)])
    assert np.isfinite(early) == stretched

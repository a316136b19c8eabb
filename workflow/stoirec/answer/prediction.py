"""Time courses that an answer predicts: its columns and rate constants with the functions of its fit, integrated."""

import math
import warnings

import numpy as np
import torch
import xarray as xr
from scipy.integrate import solve_ivp

from stoirec.data.dataset import Data
from stoirec.data.frames import Frames
from stoirec.learn.fit_file import learned_model, with_inferred
from stoirec.learn.model import MetabolismPropagation
from stoirec.learn.observations import std

_RELATIVE, _ABSOLUTE = 1e-6, 1e-9  # tolerances; the second of the largest concentration
_MOST = 20_000  # evaluations of the rates, in a run: some matrices lead to courses that no solver follows
_SHIFT = 1e-7  # of a concentration, for derivatives by it
_FAR = 1e3  # times the largest concentration measured: a course that goes there has left
_COMPARED = 400  # frames of a stretch
ROLLOUT, _LOG_K = "rollout_error", "log_k_"  # before the name of a method


class _Left(Exception):
    """The course cannot be followed any further."""


def answered_model(fit: xr.Dataset, data: Data, coefficient: np.ndarray, log_k: np.ndarray) -> MetabolismPropagation:
    """The network of a fit with other coefficients (E,) and log10 rate constants (R,): those of an answer."""
    model = learned_model(fit, data)
    with torch.no_grad():
        model.sto_all.copy_(torch.as_tensor(np.asarray(coefficient, float)))
        model.log_k.copy_(torch.as_tensor(log_k))
    return model


def predicted(model: MetabolismPropagation, start: np.ndarray, time: np.ndarray) -> np.ndarray:
    """(T, M) concentrations at `time` (T,) from `start` (M,) at the first of them; NaN where they cannot be followed.

    By the solver that changes between Adams and BDF (Petzold, SIAM J. Sci. Stat. Comput. 4, 1983); with a flux limiter
    by explicit Euler from frame to frame, because the limit is that of a frame.
    """
    rates = _Rates(model, start)
    if len(time) == 1:
        return start[None]
    try:
        if not (np.diff(time) > 0).all():
            raise _Left
        return _euler(rates, start, time) if model.limiter is not None else _solved(rates, start, time)
    except _Left:
        return np.concatenate([start[None], np.full((len(time) - 1, len(start)), np.nan)])


class _Rates:
    """dc/dt of a model, as a solver asks for it; raises _Left where a course has left, or takes too long."""

    def __init__(self, model: MetabolismPropagation, start: np.ndarray) -> None:
        self.model, self.size, self.left = model, max(float(start.max()), 1e-300), _MOST

    def __call__(self, _: float, c: np.ndarray) -> np.ndarray:
        """(M,) at c (M,), as a solver asks for it."""
        self.left -= 1
        if self.left < 0:
            raise _Left
        return self.at(c)

    def at(self, c: np.ndarray) -> np.ndarray:
        """(M,) at c (M,)."""
        if not np.abs(c).max() < _FAR * self.size:
            raise _Left
        return self._at(c[None])[0]

    def jacobian(self, _: float, c: np.ndarray) -> np.ndarray:
        """(M, M) by differences: one call for all metabolites."""
        shift = _SHIFT * np.maximum(np.abs(c), _SHIFT * self.size)
        found = self._at(np.concatenate([c[None], c + np.diag(shift)]))
        return ((found[1:] - found[0]) / shift[:, None]).T

    @torch.no_grad()
    def _at(self, c: np.ndarray) -> np.ndarray:
        return self.model(torch.as_tensor(c)).numpy()


def _solved(rates: _Rates, start: np.ndarray, time: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a course that has left: NaN says so
        found = solve_ivp(
            rates,
            (time[0], time[-1]),
            start,
            method="LSODA",
            t_eval=time,
            jac=rates.jacobian,
            rtol=_RELATIVE,
            atol=_ABSOLUTE * rates.size,
        )
    if not found.success:
        raise _Left
    return found.y.T


def _euler(rates: _Rates, start: np.ndarray, time: np.ndarray) -> np.ndarray:
    found = [start]
    for dt in np.diff(time):
        found.append(np.maximum(found[-1] + dt * rates.at(found[-1]), 0.0))
    return np.array(found)


def spread(data: Data) -> np.ndarray:
    """(M,) standard deviations of the concentrations over all runs: errors of courses are measured by them.

    NaN for metabolites that nobody measured.
    """
    found = std(torch.as_tensor(data.concentration.reshape(-1, data.graph.n_metabolites))).numpy()
    found[data.unmeasured] = np.nan
    return found


def relative_error(difference: np.ndarray, value: np.ndarray, scale: np.ndarray) -> float:
    """RMS of `difference` (n, M) over that of `value` (n, M) from its means, each metabolite over its `scale` (M,).

    0: no difference; 1: as much as the best constant has; what is NaN does not count.
    """
    constant = value - np.nansum(value, axis=0) / np.maximum(np.isfinite(value).sum(axis=0), 1)
    missed, moved = (float(np.nansum((part / scale) ** 2)) for part in (difference, constant))
    return math.sqrt(missed / moved) if moved > 0 and np.isfinite(missed) else math.inf


def rollout_error(model: MetabolismPropagation, held_out: Frames, scale: np.ndarray) -> float:
    """The relative error of held-out frames, each stretch integrated from its first; inf: not to be followed.

    NaN: no stretch has two frames. `scale`: (M,) of the concentrations, see `spread`.
    """
    differences, values = [], []
    for stretch in range(held_out.stretch[-1] + 1):
        own = np.flatnonzero(held_out.stretch == stretch)
        if len(own) < 2:
            continue
        shown = np.unique(np.linspace(0, len(own) - 1, min(len(own), _COMPARED)).round().astype(int))
        course = predicted(model, held_out.concentration[own[0]], held_out.time[own])[shown]
        value = held_out.concentration[own[shown]]
        differences.append(np.where(np.isnan(course), np.inf, course) - value)
        values.append(value - value.mean(axis=0))
    if not values:
        return math.nan
    return relative_error(np.concatenate(differences), np.concatenate(values), scale)


def with_rollout_errors(recovery: xr.Dataset, fit: xr.Dataset, data: Data) -> xr.Dataset:
    """A recovery.nc with rollout_error_<method> of every rounding method; NaN if the fit diverged."""
    data = with_inferred(data, fit)
    held_out, scale, found = data.validation_frames(), spread(data), {}
    by_answer: dict[bytes, float] = {}  # methods often agree
    for method in (str(name).removeprefix(_LOG_K) for name in recovery.variables if str(name).startswith(_LOG_K)):
        coefficient, log_k = recovery[f"stoichiometry_{method}"].values, recovery[_LOG_K + method].values
        answer = coefficient.astype(float).tobytes() + log_k.tobytes()
        if answer not in by_answer:
            by_answer[answer] = math.nan
            if fit.attrs["status"] == "ok":
                model = answered_model(fit, data, data.graph.on_edges(coefficient), log_k)
                by_answer[answer] = rollout_error(model, held_out, scale)
        text = f"error of the held-out courses integrated with {method}, over that of the best constant"
        found[f"{ROLLOUT}_{method}"] = ((), by_answer[answer], {"long_name": text, "units": "1"})
    return recovery.assign(found)

"""Every run beside what the answer predicts of it, from its first frame on."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from stoirec.answer.prediction import answered_model, predicted, relative_error, spread
from stoirec.data.dataset import VALIDATION, Data
from stoirec.learn.fit_file import with_inferred


@dataclass(frozen=True)
class Prediction:
    """A run.

    Attributes:
        run: its place in the file; name: what the file calls it.
        held_out: whether nothing was trained on it.
        time: (T,) [time unit]; measured: (T, M) [concentration], NaN where nothing was; predicted: (T, M), inf
            where the course cannot be followed.
        error: (M,) RMS difference over the metabolite's standard deviation in all runs; inf where the course cannot be
            followed, NaN where nothing was measured.
        relative: RMS difference of all over that of the best constants.
    """

    run: int
    name: str
    held_out: bool
    time: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray
    error: np.ndarray
    relative: float


def predictions(data: Data, fit: xr.Dataset, recovery: xr.Dataset) -> list[Prediction]:
    """Of every run, by the matrix and rate constants of `recovery` with the functions of `fit`."""
    data = with_inferred(data, fit)
    coefficient = data.graph.on_edges(recovery["stoichiometry"].values)
    log_k = recovery[f"log_k_{recovery.attrs['method']}"].values
    model = answered_model(fit, data, coefficient, log_k)
    scale = spread(data)
    found = []
    for run, role in enumerate(data.run_role):
        time, measured = (
            (data.courses[run].time, data.courses[run].value)
            if data.courses
            else (data.time_of(run), data.concentration[run])
        )
        measured = measured.copy()
        measured[:, data.unmeasured] = np.nan
        course = predicted(model, data.concentration[run, 0], time)
        course[np.isnan(course)] = np.inf  # lost
        errors = _error(course - measured, scale), relative_error(course - measured, measured, scale)
        found.append(Prediction(run, data.run_name(run), bool(role == VALIDATION), time, measured, course, *errors))
    return found


def _error(difference: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(M,) RMS over the frames, over `scale` (M,)."""
    square = difference**2
    number = (~np.isnan(square)).sum(0)
    return np.sqrt(np.nansum(square, axis=0) / np.where(number > 0, number, np.nan)) / scale

"""data.nc as a learner sees it: concentrations, derivatives and the graph."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import xarray as xr

from stoirec.data.courses import Course, courses_of
from stoirec.data.frames import Frames, frames_of
from stoirec.data.graph_variables import space_of
from stoirec.errors import BadInput, Unsuitable
from stoirec.files import netcdf
from stoirec.files.contents import DATA
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph

TRAINING, VALIDATION = 0, 1
_ERROR = "concentration_se"
FEWEST = 5  # frames of a run
_RESOLVED = 1e-12  # of the latest time: steps that are shorter are lost in rounding
_LEAST_FRAMES = 400  # of a smooth course


@dataclass(frozen=True)
class Data:
    """What a learner may see; it does not know where the rest lies.

    Attributes:
        space: candidate edges, and the columns their reactions may have.
        time: (T,), or (runs, T) where runs have times of their own [time unit].
        concentration, dcdt: (runs, T, M) [concentration], [concentration/time unit].
        run_role: (runs,) 0 training, 1 validation.
        courses: what was measured of each run, where `concentration` and `dcdt` are of smooth courses; else none.
        noise: (M,) standard deviations of what was measured [concentration], where dcdt comes from it; else 0.
        unmeasured: indices of metabolites that nobody measured: what stands for them is a guess, or inferred.
        run_names: (runs,) as the file calls them, or none; time_unit, unit: of times and concentrations.
    """

    space: ColumnSpace
    time: np.ndarray
    concentration: np.ndarray
    dcdt: np.ndarray
    run_role: np.ndarray
    courses: tuple[Course, ...] = ()
    noise: np.ndarray = field(default_factory=lambda: np.zeros(1))
    unmeasured: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    run_names: tuple[str, ...] = ()
    time_unit: str = "time unit"
    unit: str = "concentration unit"

    def run_name(self, run: int) -> str:
        """What the file calls a run, or its place."""
        return self.run_names[run] if self.run_names else str(run)

    @property
    def graph(self) -> Graph:
        """The candidate edges."""
        return self.space.graph

    @property
    def n_frames(self) -> int:
        return self.concentration.shape[1]

    def time_of(self, run: int) -> np.ndarray:
        """(T,) times of a run's frames."""
        return self.time if self.time.ndim == 1 else self.time[run]

    @property
    def dt(self) -> float:
        """The time step. Raises Unsuitable if frames are not equally spaced, or of smooth courses."""
        if self.courses:
            raise Unsuitable("dcdt", "nothing", "measured derivatives, for graph_model.flux_limiter")
        steps = np.diff(self.time).ravel()
        if len(steps) == 0 or not np.allclose(steps, steps[0], rtol=1e-6):
            found = "unequal steps" if len(steps) else "one frame"
            raise Unsuitable("time", found, "equally spaced frames, for graph_model.flux_limiter")
        return float(steps[0])

    @property
    def n_training_runs(self) -> int:
        return int((self.run_role == TRAINING).sum())

    def in_unit(self, unit: float) -> "Data":
        """The same with concentrations in multiples of `unit`."""
        return replace(
            self,
            concentration=self.concentration / unit,
            dcdt=self.dcdt / unit,
            courses=tuple(course.in_unit(unit) for course in self.courses),
            noise=self.noise / unit,
        )

    def with_inferred(self, concentration: np.ndarray, dcdt: np.ndarray) -> "Data":
        """The same with courses (runs, T, unmeasured) of what nobody measured, at the times of the frames."""
        every, slope, own = self.concentration.copy(), self.dcdt.copy(), self.unmeasured
        every[..., own], slope[..., own] = concentration, dcdt
        courses = tuple(
            course.with_columns(own, self.time_of(run), concentration[run]) for run, course in enumerate(self.courses)
        )
        return replace(self, concentration=every, dcdt=slope, courses=courses)

    def training_frames(self, n_runs: int) -> Frames:
        """Those of the first `n_runs` training runs. Raises Unsuitable if there are fewer."""
        if n_runs > self.n_training_runs:
            allowed = f"1..{self.n_training_runs}, the file's training runs: set n_runs in the fit's configuration"
            raise Unsuitable("n_runs", n_runs, allowed)
        runs = np.flatnonzero(self.run_role == TRAINING)[:n_runs]
        return self._frames(runs, ~self._held_out())

    def validation_frames(self) -> Frames:
        """Those of the validation runs; the held-out time blocks of all runs where there is no validation run.

        Raises:
            Unsuitable: there is neither.
        """
        runs = np.flatnonzero(self.run_role == VALIDATION)
        if len(runs):
            return self._frames(runs, np.ones(self.n_frames, bool))
        held_out = self._held_out()
        if not held_out.any():
            raise Unsuitable(
                "time", f"{self.n_frames} frames a run", "at least 10, or a run with run_role 1 (validation)"
            )
        return self._frames(np.arange(len(self.run_role)), held_out)

    def _held_out(self) -> np.ndarray:
        """(T,) bool: the 5th and 10th tenth of the time axis if no run is for validation, else nothing."""
        if (self.run_role == VALIDATION).any():
            return np.zeros(self.n_frames, bool)
        return (np.arange(self.n_frames) * 10 // self.n_frames) % 5 == 4

    def _frames(self, runs: np.ndarray, keep: np.ndarray) -> Frames:
        return frames_of(self.concentration, self.dcdt, self.time, runs, keep)


def read_space(path: str | Path) -> ColumnSpace:
    """The graph of data.nc and its columns alone: through time courses with noise `read_data` lays smooth ones first.

    Raises:
        BadInput: the file is missing or damaged, or is not as `contents.DATA` says.
    """
    return space_of(netcdf.read(path, DATA), path)


def read_data(path: str | Path) -> Data:
    """What a learner may see in data.nc; /truth is not opened.

    Raises:
        BadInput: the file is missing or damaged, is not as `contents.DATA` says, or has too few frames.
    """
    dataset = netcdf.read(path, DATA)
    roles = dataset["run_role"].values if "run_role" in dataset else np.zeros(dataset.sizes["run"])
    space, roles = space_of(dataset, path), roles.astype(np.int8)
    concentration = dataset["concentration"].values.astype(float)
    nowhere = _nowhere(concentration)
    if "dcdt" in dataset:
        dcdt, time = dataset["dcdt"].values.astype(float), dataset["time"].values.astype(float)
        concentration[..., nowhere], dcdt[..., nowhere] = _guess(concentration), 0.0
        found = Data(space, time, concentration, dcdt, roles, unmeasured=nowhere)
    else:
        found = _smoothed(space, *_measured(path, dataset), roles, nowhere)
    return replace(
        found,
        run_names=tuple(map(str, dataset["run"].values.tolist())) if "run" in dataset.coords else (),
        time_unit=str(dataset["time"].attrs.get("units", found.time_unit)),
        unit=str(dataset["concentration"].attrs.get("units", found.unit)),
    )


def read_n_frames(path: str | Path) -> int:
    """Frames of a run as `read_data` has them, without the smooth courses. Raises BadInput, as that does."""
    dataset = netcdf.read(path, DATA)
    return dataset.sizes["time"] if "dcdt" in dataset else _n_frames(_measured(path, dataset)[0])


def _n_frames(times: list[np.ndarray]) -> int:
    """Of smooth courses through values at `times` (n,) of each run."""
    return max(*map(len, times), _LEAST_FRAMES)


def _nowhere(concentration: np.ndarray) -> np.ndarray:
    """Metabolites that nobody measured."""
    return np.flatnonzero(np.isnan(concentration).all(axis=(0, 1)))


def _guess(concentration: np.ndarray) -> float:
    """A concentration of the usual size."""
    return float(np.sqrt(np.nanmean(concentration**2)))


def _measured(path: str | Path, dataset: xr.Dataset) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Times (n,), values and errors (n, M) of every run, without frames that fill it up, with nothing measured."""
    time, concentration = (dataset[name].values.astype(float) for name in ("time", "concentration"))
    errors = dataset[_ERROR].values.astype(float) if _ERROR in dataset else np.full_like(concentration, np.nan)
    times, values, known = [], [], []
    for run, (own, value) in enumerate(zip(np.broadcast_to(time, concentration.shape[:2]), concentration)):
        there = np.isfinite(own) & np.isfinite(value).any(axis=1)
        if there.sum() < FEWEST:
            raise BadInput(path, f"concentration, run {run}", f"{there.sum()} frames", f"at least {FEWEST}")
        if not (np.diff(own[there]) > _RESOLVED * np.abs(own[there]).max()).all():
            raise BadInput(path, f"time, run {run}", "times that do not rise", "rising times")
        times.append(own[there])
        values.append(value[there])
        known.append(errors[run][there])
    for metabolite in np.delete(np.arange(concentration.shape[2]), _nowhere(concentration)):
        if not all(np.isfinite(value[:, metabolite]).sum() >= 2 for value in values):
            raise BadInput(path, "concentration", f"metabolite {metabolite} less than twice in a run", "two values")
    return times, values, known


def _smoothed(
    space: ColumnSpace,
    times: list[np.ndarray],
    values: list[np.ndarray],
    errors: list[np.ndarray],
    roles: np.ndarray,
    nowhere: np.ndarray,
) -> Data:
    """Data with smooth courses through what was measured, their derivatives, and the noise about them."""
    guess = _guess(np.concatenate(values))
    for value in values:
        value[:, nowhere] = guess
    courses, noise = courses_of(times, values, errors)
    courses = tuple(course.without(nowhere) for course in courses)
    number = _n_frames(times)
    time = np.stack([course.times(number) for course in courses])
    concentration, dcdt = (np.stack(part) for part in zip(*(course.at(own) for course, own in zip(courses, time))))
    return Data(space, time, concentration, dcdt, roles, courses, noise, nowhere)

"""Courses of metabolites that nobody measured, inferred from what they drive.

Their concentrations are splines of time. Gradient descent moves them with the network; between the rounds of refinement
Gauss-Newton steps do, by dc/dt of the measured metabolites alone: at every time there are far more of these than
unknown concentrations.
"""

from functools import partial

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor, nn

from stoirec.data.courses import place_in_run
from stoirec.data.dataset import Data
from stoirec.data.windows import Windows
from stoirec.learn.model import MetabolismPropagation
from stoirec.learn.observations import Observations
from stoirec.refine import Unmeasured

RATE = 2.0  # of their learning rate, over that of the functions
_FEWEST, _MOST = 6, 25  # splines of a course
_FINER = 4  # times as many beside refinement, at most
_PER_SPLINE = 2  # times that are measured, at least
_EARLY = 1 / 6  # of a run: before, splines are denser
_CUBIC = 3
_FRAMES = 240  # of a run, that a course is fitted to
_STEPS = 20  # of Gauss and Newton, at a time: from far off the first few only turn
_STIFF = 1e-6  # of the sharpest frame: what no frame tells follows from its neighbours
_LEAST_SPREAD, _FAR = 0.1, 4.0  # of logs of concentrations; how many times that from the usual one is out of reach


class InferredCourses(nn.Module):
    """Log concentrations of the unmeasured metabolites in every run.

    Attributes:
        log_c: (runs, splines, unmeasured) of the log of concentrations.
        usual, spread: mean and standard deviation of the log of those that were measured: what is known beforehand.
    """

    basis: Tensor
    slope: Tensor

    def __init__(self, data: Data, dtype: torch.dtype, device: torch.device, most: int = _MOST) -> None:
        super().__init__()
        measured = np.delete(np.arange(data.graph.n_metabolites), data.unmeasured)
        there = data.concentration[..., measured]
        logs = np.log(there[there > 0]) if (there > 0).any() else np.zeros(1)
        self.usual, self.spread = float(logs.mean()), max(float(logs.std()), _LEAST_SPREAD)
        n_times = min((len(course.time) for course in data.courses), default=data.n_frames)
        self.is_coarse = most == _MOST
        self.n_splines = int(np.clip(n_times // _PER_SPLINE, _FEWEST, most))
        shape = (len(data.run_role), self.n_splines, len(data.unmeasured))
        self.range = self.usual - _FAR * self.spread, self.usual + _FAR * self.spread
        self.log_c = nn.Parameter(torch.full(shape, self.usual, dtype=dtype, device=device))
        self.unmeasured, self.measured = (torch.as_tensor(of, device=device) for of in (data.unmeasured, measured))
        bases = [self._basis(data.time_of(run)) for run in range(len(data.run_role))]
        for name, parts in zip(("basis", "slope"), zip(*bases)):  # (runs, T, splines), and its derivative in time
            values = torch.as_tensor(np.stack(parts), dtype=dtype, device=device)
            self.register_buffer(name, values, persistent=False)

    def _basis(self, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(T, splines) each, at the times of a run."""
        inner = np.linspace(0, 1, self.n_splines - _CUBIC + 1)
        splines = BSpline(np.r_[[0.0] * _CUBIC, inner, [1.0] * _CUBIC], np.eye(self.n_splines), _CUBIC)
        span = time[-1] - time[0]
        place, slope = place_in_run(time, time[0], time[-1], _EARLY), np.log1p(1 / _EARLY)
        per_time = 1 / (slope * (_EARLY * span + time - time[0]))
        return splines(place), splines.derivative()(place) * per_time[:, None]

    @property
    def as_unknowns(self) -> Unmeasured:
        """What is known of them beforehand, for refinement."""
        return Unmeasured(self.unmeasured, self.usual, self.spread, self.range)

    def at(self, run: Tensor | int, place: Tensor) -> tuple[Tensor, Tensor]:
        """(n, unmeasured) concentrations, and their derivatives, in `run` at the frames `place` (n,) of it."""
        basis, slope, log_c = self.basis[run, place], self.slope[run, place], self.log_c[run]
        if log_c.dim() == 2:  # one run
            found, rate = basis @ log_c, slope @ log_c
        else:
            found, rate = (torch.einsum("fk,fkh->fh", part, log_c) for part in (basis, slope))
        c = found.clamp(*self.range).exp()
        return c, c * rate

    def filled(self, concentration: Tensor, dcdt: Tensor, run: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (n, M) with what is inferred in the columns of the unmeasured metabolites."""
        own, own_dcdt = self.at(run, place)
        return concentration.index_copy(1, self.unmeasured, own), dcdt.index_copy(1, self.unmeasured, own_dcdt)

    @classmethod
    @torch.no_grad()
    def finer(cls, coarse: "InferredCourses", data: Data) -> "InferredCourses":
        """The same courses of more splines, in double precision."""
        found = cls(data, torch.float64, coarse.log_c.device, _FINER * _MOST)
        for run, log_c in enumerate(coarse.basis.double() @ coarse.log_c.double()):
            for column, value in enumerate(log_c.T):
                found.log_c[run, :, column] = _through(found.basis[run], value, torch.ones_like(value))
        return found

    @torch.no_grad()
    def into(self, data: Data) -> Data:
        """`data` with the courses as they are inferred."""
        every = torch.arange(data.n_frames, device=self.log_c.device)
        found = [self.at(run, every) for run in range(len(data.run_role))]
        return data.with_inferred(*(torch.stack(part).double().cpu().numpy() for part in zip(*found)))

    @torch.no_grad()
    def fit(self, model: MetabolismPropagation, data: Data, scale: Tensor) -> None:
        """The likeliest courses by dc/dt of the measured metabolites, at a fixed model in double precision.

        What the model leaves now counts as noise, and beforehand unmeasured concentrations are as the measured are.
        Damped Gauss-Newton steps at each frame by itself, then splines through what they found, as sharp as it is.

        Args:
            scale: (M,) residuals of dc/dt are divided by it.
        """
        device = self.log_c.device
        chosen = np.unique(np.linspace(0, data.n_frames - 1, min(_FRAMES, data.n_frames)).round().astype(int))
        place = torch.as_tensor(chosen, device=device)
        for run in range(len(data.run_role)):
            frames, dcdt = (
                torch.as_tensor(values[run, chosen], device=device) for values in (data.concentration, data.dcdt)
            )
            left = partial(self._left, model, frames, dcdt, scale)
            log_c, slope = self.as_unknowns.likeliest(left, self.at(run, place)[0].log(), _STEPS)
            for column, sharpness in enumerate(slope.square().sum(1).T):
                off = _through(self.basis[run, place], log_c[:, column] - self.usual, sharpness)
                self.log_c[run, :, column] = self.usual + off

    def _left(
        self, model: MetabolismPropagation, concentration: Tensor, dcdt: Tensor, scale: Tensor, log_c: Tensor
    ) -> Tensor:
        """(n, measured) residuals over `scale` of frames (n, M) with log concentrations (n, unmeasured)."""
        return ((model(concentration.index_copy(1, self.unmeasured, log_c.exp())) - dcdt) / scale)[:, self.measured]

    @torch.no_grad()
    def beside(self, model: MetabolismPropagation, windows: Windows) -> Windows:
        """Windows with the concentrations that are likeliest in each, at a fixed model. All on the CPU.

        What functions are wrong by where an unmeasured metabolite drives them is taken up there, and bends no others.
        """

        def residual(own: Windows) -> Tensor:
            rate = model(own.concentration.flatten(0, 1)).T.unflatten(1, own.concentration.shape[:2])
            return own.over_nodes(rate).T / own.scale - own.target

        return self.as_unknowns.followed(windows, residual, _STEPS)


def _through(basis: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """(splines,) of the curve through `value` (n,), smooth where their `weight` (n,) is little, or there are none."""
    weight = weight / weight.max().clamp(min=torch.finfo(weight.dtype).tiny)
    curved = torch.diff(torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device), n=2, dim=0)
    matrix = basis.T @ (weight[:, None] * basis) + _STIFF * curved.T @ curved
    flat = _STIFF**2 * torch.eye(len(matrix), dtype=basis.dtype, device=basis.device)
    return torch.linalg.solve(matrix + flat, basis.T @ (weight * value))


def place_of(observed: Observations, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Of the training frames (frames,) their runs, and where they stand in these."""
    frames = observed.frames
    place = np.empty(len(frames), int)
    for run in np.unique(frames.run):
        own = frames.run == run
        place[own] = np.searchsorted(data.time_of(run), frames.time[own])
    return frames.run, place

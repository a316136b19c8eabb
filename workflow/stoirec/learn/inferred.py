"""Courses of metabolites that nobody measured, inferred from what they drive.

Their concentrations are splines of time. Gradient descent moves them with the network; between the rounds of refinement
Gauss-Newton steps do, by dc/dt of the measured metabolites alone: at every time there are far more of these than
unknown concentrations.
"""

from collections.abc import Callable
from dataclasses import replace
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

RATE = 2.0  # of their learning rate, over that of the functions
_FEWEST, _MOST = 6, 25  # splines of a course
_FINER = 4  # times as many beside refinement, at most
_PER_SPLINE = 2  # times that are measured, at least
_EARLY = 1 / 6  # of a run: before, splines are denser
_CUBIC = 3
_FRAMES = 240  # of a run, that a course is fitted to
_STEPS = 20  # of Gauss and Newton, at a time: from far off the first few only turn
_DAMPING, _FLOOR = 1e-3, 1e-9  # of the diagonal of J'J, and of its largest entry
_SHIFT = 1e-6  # of a log concentration, for derivatives by it
_STIFF = 1e-6  # of the sharpest frame: what no frame tells follows from its neighbours
_NOTHING = 1e-30  # a slope, squared, that is none
_LEAST_SPREAD, _FAR = 0.1, 4.0  # of logs of concentrations; how many times that from the usual one is out of reach
_LONGEST = 1.0  # change of the log of a concentration in a step


class InferredCourses(nn.Module):
    """Log concentrations of the unmeasured metabolites in every run.

    Attributes:
        log_c: (runs, splines, unmeasured) of the log of concentrations.
        usual, spread: mean and standard deviation of the log of those that were measured: what is known beforehand.
    """

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
        found = self.at(run, place)
        return tuple(values.index_copy(1, self.unmeasured, own) for values, own in zip((concentration, dcdt), found))

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
            log_c, slope = self._likeliest(
                partial(self._left, model, frames, dcdt, scale), self.at(run, place)[0].log()
            )
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
        """Windows with the concentrations that are likeliest in each, at a fixed model.

        What functions are wrong by where an unmeasured metabolite drives them is taken up there, and bends no others.
        Within a window of several frames they change as the courses do. All on the CPU.
        """
        unmeasured, measured = self.unmeasured.cpu(), self.measured.cpu()
        c = windows.concentration
        own = c[..., unmeasured]
        middle = own[:, own.shape[1] // 2]
        ratio = own / middle[:, None]

        def filled(log_c: Tensor) -> Tensor:
            return c.index_copy(2, unmeasured, log_c.exp()[:, None] * ratio)

        def residual(log_c: Tensor) -> Tensor:
            rate = model(filled(log_c).flatten(0, 1)).T.unflatten(1, c.shape[:2])
            return (windows.over_nodes(rate).T / windows.scale - windows.target)[:, measured]

        log_c, _ = self._likeliest(residual, middle.log())
        return replace(windows, concentration=filled(log_c))

    def _likeliest(self, residual: Callable[[Tensor], Tensor], log_c: Tensor) -> tuple[Tensor, Tensor]:
        """(n, unmeasured) log concentrations, each of n by itself, and (n, measured, unmeasured) slopes there.

        `residual`: (n, unmeasured) -> (n, measured).
        """
        log_c = log_c.clamp(*self.range)
        left, slope = _linearised(residual, log_c)
        prior = left.square().mean() / self.spread**2
        damping = torch.full_like(log_c[:, :1], _DAMPING)
        for _ in range(_STEPS):
            off = log_c - self.usual
            trial = (log_c - _step(left, slope, damping, prior, off)).clamp(*self.range)
            other, of_trial = _linearised(residual, trial)
            gain = left.square().sum(1) - other.square().sum(1)
            better = (gain + prior * (off.square() - (trial - self.usual).square()).sum(1) > 0)[:, None]
            log_c, left = torch.where(better, trial, log_c), torch.where(better, other, left)
            slope = torch.where(better[..., None], of_trial, slope)
            damping = torch.where(better, damping / 3, 10 * damping)
        return log_c, slope


def _linearised(residual: Callable[[Tensor], Tensor], log_c: Tensor) -> tuple[Tensor, Tensor]:
    """(n, measured) residuals, and (n, measured, unmeasured) their derivatives by log c (n, unmeasured)."""
    base, slopes = residual(log_c), []
    for column in range(log_c.shape[1]):
        moved = log_c.clone()
        moved[:, column] += _SHIFT
        slopes.append((residual(moved) - base) / _SHIFT)
    return base, torch.stack(slopes, dim=-1)


def _through(basis: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """(splines,) of the curve through `value` (n,), smooth where their `weight` (n,) is little, or there are none."""
    weight = weight / weight.max().clamp(min=torch.finfo(weight.dtype).tiny)
    curved = torch.diff(torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device), n=2, dim=0)
    matrix = basis.T @ (weight[:, None] * basis) + _STIFF * curved.T @ curved
    flat = _STIFF**2 * torch.eye(len(matrix), dtype=basis.dtype, device=basis.device)
    return torch.linalg.solve(matrix + flat, basis.T @ (weight * value))


def _step(residual: Tensor, slope: Tensor, damping: Tensor, prior: Tensor, off: Tensor) -> Tensor:
    """(n, unmeasured) damped Gauss-Newton steps of frames, to be subtracted; `prior` pulls what is `off` back."""
    matrix = slope.transpose(1, 2) @ slope + prior * torch.eye(off.shape[1], dtype=off.dtype, device=off.device)
    gradient = slope.transpose(1, 2) @ residual[..., None] + prior * off[..., None]
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    added = damping * diagonal + _FLOOR * diagonal.max().clamp(min=_NOTHING)
    return torch.linalg.solve(matrix + torch.diag_embed(added), gradient)[..., 0].clamp(-_LONGEST, _LONGEST)


def place_of(observed: Observations, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Of the training frames (frames,) their runs, and where they stand in these."""
    frames = observed.frames
    place = np.empty(len(frames), int)
    for run in np.unique(frames.run):
        own = frames.run == run
        place[own] = np.searchsorted(data.time_of(run), frames.time[own])
    return frames.run, place

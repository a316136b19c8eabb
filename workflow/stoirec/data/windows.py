"""What refinement fits: single frames, or means over windows of them where the derivatives are noisy.

Where the concentrations are noisy and nobody measured derivatives, changes of the concentrations.

A window lies within one stretch of one run: dc/dt jumps from run to run, and its mean over a jump is nothing that the
model has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from torch import Tensor

from stoirec.data.courses import MAD, Course
from stoirec.data.frames import Frames

_CLEAN = 1e-4  # relative noise below which single frames say as much as windows
_NODES = 7  # frames of a window at which the model is evaluated, at most
_STEP_NODES = 5  # of Gauss and Legendre, between two measured times
_LEAST_NODES, _MOST_NODES = 60, 200  # of an integral along a stretch
_FOURTH_DIFFERENCE = 70.0  # variance of the fourth difference of white noise of variance 1


@dataclass(frozen=True)
class Windows:
    """The mean of dc/dt over each window, to be fitted by the mean of the model over the same window.

    Means of residuals are as unbiased as residuals, whatever the model does within a window. The model's mean comes
    from a few nodes, its derivatives from the window's centre.

    Attributes:
        concentration: (windows, nodes, M).
        weight: (nodes,) of the nodes in a mean; they sum to 1.
        target: (windows, M) means of dc/dt, each metabolite divided by its scale.
        scale: (M,) residuals are divided by it.
        noise: mean squared residual that the noise of dc/dt leaves.
    """

    concentration: Tensor
    weight: Tensor
    target: Tensor
    scale: Tensor
    noise: float = 0.0

    def __len__(self) -> int:
        return len(self.concentration)

    @property
    def points(self) -> Tensor:
        """(points, M) concentrations at which derivatives are taken: the middle of each window."""
        return self.concentration[:, self.concentration.shape[1] // 2]

    def over_nodes(self, values: Tensor) -> Tensor:
        """(..., residuals of a metabolite) of `values` (..., windows, nodes): means."""
        return values @ self.weight

    def over_points(self, values: Tensor) -> Tensor:
        """(..., residuals of a metabolite) of `values` (..., points)."""
        return values

    def to(self, device: torch.device) -> "Windows":
        """The same on another device."""
        concentration, weight = self.concentration.to(device), self.weight.to(device)
        return Windows(concentration, weight, self.target.to(device), self.scale.to(device), self.noise)

    def chunks(self, size: int) -> Iterator["Windows"]:
        """At most `size` points at a time."""
        for c, y in zip(self.concentration.split(size), self.target.split(size)):
            yield Windows(c, self.weight, y, self.scale, self.noise)


@dataclass(frozen=True)
class Integrals:
    """Changes of concentrations along stretches, to be fitted by integrals of the model.

    Differences of a metabolite's values from their mean over a stretch, whose initial value is as unknown as they are:
    with white noise on the values they say all there is (Dattner and Klaassen, Electron. J. Stat. 9, 2015).

    Attributes:
        concentration: (stretches, nodes, M).
        weight: (stretches, values, nodes): from the model at the nodes to differences of its integral.
        target: (stretches x values, M) differences, each metabolite divided by its scale.
        scale: (M,) residuals are divided by it.
        noise: mean squared residual that the noise of the values leaves.
    """

    concentration: Tensor
    weight: Tensor
    target: Tensor
    scale: Tensor
    noise: float | np.ndarray = 0.0

    def __len__(self) -> int:
        return len(self.concentration)

    def scaled(self, scale: Tensor) -> "Integrals":
        """Residuals over `scale` (M,); of the noise of each metabolite the mean is left."""
        noise = float(np.mean(self.noise / scale.cpu().numpy() ** 2))
        return Integrals(self.concentration, self.weight, self.target / scale, scale, noise)

    @property
    def points(self) -> Tensor:
        """(points, M) concentrations at which derivatives are taken: all nodes."""
        return self.concentration.flatten(0, 1)

    def over_nodes(self, values: Tensor) -> Tensor:
        """(..., residuals of a metabolite) of `values` (..., stretches, nodes)."""
        return torch.einsum("svn,...sn->...sv", self.weight, values).flatten(-2)

    def over_points(self, values: Tensor) -> Tensor:
        """(..., residuals of a metabolite) of `values` (..., points)."""
        return self.over_nodes(values.unflatten(-1, self.concentration.shape[:2]))

    def to(self, device: torch.device) -> "Integrals":
        """The same on another device."""
        concentration, weight = self.concentration.to(device), self.weight.to(device)
        return Integrals(concentration, weight, self.target.to(device), self.scale.to(device), self.noise)

    def chunks(self, size: int) -> Iterator["Integrals"]:
        """At most `size` points at a time, if a stretch has no more."""
        stretches = max(1, size // self.concentration.shape[1])
        parts = self.concentration.split(stretches), self.weight.split(stretches)
        for c, w, y in zip(*parts, self.target.split(stretches * self.weight.shape[1])):
            yield Integrals(c, w, y, self.scale, self.noise)


def windows(
    frames: Frames,
    scale: Tensor,
    n_windows: int,
    chance: np.ndarray | None = None,
    smooth: bool = True,
) -> Windows:
    """`n_windows` single frames, or windows that hold about all frames if the derivatives are noisy.

    Evenly spaced over the frames of all runs, or as dense as `chance` (frames,) says. A window that would reach over
    the end of its stretch is moved back into it; stretches shorter than a window have none.

    Args:
        scale: (M,) residuals are divided by it; the windows are on its device, in its precision.
        smooth: whether the model is smooth in time; else every frame of a window is a node, and there are few.
    """
    n_windows = min(n_windows, len(frames))
    noise = relative_noise(frames, scale.cpu().numpy())
    width = _width(frames, n_windows) if noise > _CLEAN else 1
    width = width if smooth else min(width, _NODES)
    if chance is None:
        start = np.linspace(0, len(frames) - width, n_windows).round().astype(int)
    else:
        reached = np.cumsum(chance) / np.sum(chance)
        quantile = (np.arange(n_windows) + 0.5) / n_windows
        start = np.searchsorted(reached, quantile) - width // 2
    start = _within_stretches(frames.stretch, start, width)
    if not len(start):  # in no stretch that is long enough
        width, start = 1, np.linspace(0, len(frames) - 1, n_windows).round().astype(int)
    start = start[:, None]
    node, weight = _quadrature(width)

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=scale.dtype, device=scale.device)

    means = tensor(frames.dcdt[start + np.arange(width)].mean(1))
    return Windows(tensor(frames.concentration[start + node]), tensor(weight), means / scale, scale, noise**2 / width)


def steps(frames: Frames, courses: Sequence[Course], scale: Tensor, number: int) -> Windows:
    """Windows from one measured time to the next: what is known of dc/dt there is its mean, exactly.

    Derivatives of a course between measured values are less exact than the course is.

    Args:
        frames: of smooth courses, through every value; courses: of all runs.
        scale: (M,) residuals are divided by it; number: of windows, at most, evenly spaced.
    """
    node, weight = np.polynomial.legendre.leggauss(_STEP_NODES)
    ends = []
    for course, first, last in _spans(frames, courses):
        time = np.unique(np.r_[first, course.time[(course.time > first) & (course.time < last)], last])
        ends += [(course, *step) for step in zip(time[:-1], time[1:])]
    chosen = [ends[place] for place in np.linspace(0, len(ends) - 1, min(number, len(ends))).round().astype(int)]
    inside = [course.at(start + (end - start) * (node + 1) / 2)[0] for course, start, end in chosen]
    means = [np.diff(course.at(np.array([start, end]))[0], axis=0)[0] / (end - start) for course, start, end in chosen]
    concentration, target, share = (
        torch.as_tensor(np.array(part), dtype=scale.dtype, device=scale.device) for part in (inside, means, weight / 2)
    )
    return Windows(concentration, share, target / scale, scale)


def _spans(frames: Frames, courses: Sequence[Course]) -> list[tuple[Course, float, float]]:
    """The course of every stretch, and its first and last time."""
    ends = np.flatnonzero(np.diff(frames.stretch, append=frames.stretch[-1] + 1))
    starts = np.r_[0, ends[:-1] + 1]
    return [(courses[frames.run[a]], *frames.time[[a, b]].tolist()) for a, b in zip(starts, ends)]


def integrals(frames: Frames, courses: Sequence[Course], noise: np.ndarray, number: int) -> Integrals:
    """Changes along every stretch of `frames`, in the concentration's unit (scale 1).

    Args:
        frames: of smooth courses.
        courses: of all runs; noise: (M,) of their values [concentration].
        number: of values in all, at most; each then is the mean of neighbours.
    """
    measured = [_measured(*span) for span in _spans(frames, courses)]
    n_values = min(max(2, number // len(measured)), *(len(time) for time, _, _ in measured))
    n_nodes = min(_MOST_NODES, max(_LEAST_NODES, n_values))
    parts = [_along(*own, n_values, n_nodes) for own in measured]
    concentration, weight, change = (torch.as_tensor(np.stack(part)) for part in zip(*parts))
    one = torch.ones(concentration.shape[2], dtype=concentration.dtype)
    averaged = np.mean([len(time) for time, _, _ in measured]) / n_values
    return Integrals(concentration, weight, change.flatten(0, 1), one, noise**2 * (1 - 1 / n_values) / averaged)


def _measured(course: Course, first: float, last: float) -> tuple[np.ndarray, np.ndarray, Course]:
    """Times and values within a stretch; of the smooth course at its ends, if nearly nothing was measured there."""
    own = (course.time >= first) & (course.time <= last)
    if own.sum() < 2:
        time = np.array([first, last])
        return time, course.at(time)[0], course
    time, value = course.time[own], course.value[own]
    return time, np.where(np.isfinite(value), value, course.at(time)[0]), course


def _along(
    time: np.ndarray, value: np.ndarray, course: Course, n_values: int, n_nodes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one stretch: concentrations at its nodes, what leads from rates there to integrals, and the changes."""
    node = np.interp(np.linspace(0, len(time) - 1, n_nodes), np.arange(len(time)), time)
    integral = make_interp_spline(node, np.eye(n_nodes), k=3).antiderivative()(time)
    means = np.zeros((n_values, len(time)))
    for row, members in enumerate(np.array_split(np.arange(len(time)), n_values)):
        means[row, members] = 1 / len(members)
    means -= means.mean(axis=0)
    return course.at(node)[0], means @ integral, means @ value


def _width(frames: Frames, n_windows: int) -> int:
    """Frames in a window: all frames over the number of windows, but no more than the typical stretch has."""
    return max(1, min(len(frames) // n_windows, int(np.median(np.bincount(frames.stretch)))))


def _within_stretches(stretch: np.ndarray, start: np.ndarray, width: int) -> np.ndarray:
    """(windows,) starts such that each window of `width` frames lies in the stretch of its middle."""
    first = np.searchsorted(stretch, np.arange(stretch[-1] + 2))
    own = stretch[(start + width // 2).clip(0, len(stretch) - 1)]
    fits = first[own + 1] - first[own] >= width
    return start.clip(first[own], first[own + 1] - width)[fits]


def _quadrature(width: int) -> tuple[np.ndarray, np.ndarray]:
    """(nodes,) positions in a window of `width` frames and their weights.

    The mean is exact for polynomials of degree nodes - 1.
    """
    if width <= _NODES:
        return np.arange(width), np.full(width, 1 / width)
    node = np.round(np.linspace(0.05, 0.95, _NODES) * (width - 1)).astype(int)
    place = np.linspace(-1, 1, width)
    moments = np.polynomial.legendre.legvander(place, _NODES - 1)
    return node, np.linalg.solve(moments[node].T, moments.mean(axis=0))


def relative_noise(frames: Frames, scale: np.ndarray) -> float:
    """Median over metabolites of the noise of dc/dt over `scale` (M,), from fourth differences within stretches.

    Smooth trajectories leave next to nothing.
    """
    difference = np.diff(frames.dcdt / scale, n=4, axis=0)
    difference = difference[frames.stretch[4:] == frames.stretch[: len(difference)]]
    if len(difference) < 2:
        return 0.0
    return float(np.median(np.median(np.abs(difference), axis=0)) / (MAD * _FOURTH_DIFFERENCE**0.5))

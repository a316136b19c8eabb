"""What refinement fits: single frames, or means over windows of them where the derivatives are noisy.

A window lies within one stretch of one run: dc/dt jumps from run to run, and its mean over a jump is nothing that the
model has.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stoirec.data.frames import Frames

_CLEAN = 1e-4  # relative noise below which single frames say as much as windows
_NODES = 7  # frames of a window at which the model is evaluated, at most
_FOURTH_DIFFERENCE = 70.0  # variance of the fourth difference of white noise of variance 1
_MAD = 0.6745  # median absolute value of white noise of variance 1


@dataclass(frozen=True)
class Windows:
    """The mean of dc/dt over each window, to be fitted by the mean of the model over the same window.

    Means of residuals are as unbiased as residuals, whatever the model does within a window. The model's mean comes
    from a few nodes, its derivatives from the window's centre.

    Attributes:
        concentration: (windows, nodes, M).
        weight: (nodes,) of the nodes in a mean; they sum to 1.
        dcdt: (windows, M) means, each metabolite divided by its scale.
        scale: (M,) residuals are divided by it.
        noise: mean squared residual that the noise of dc/dt leaves.
    """

    concentration: Tensor
    weight: Tensor
    dcdt: Tensor
    scale: Tensor
    noise: float = 0.0

    @property
    def centre(self) -> Tensor:
        """(windows, M) concentrations in the middle of the windows."""
        return self.concentration[:, self.concentration.shape[1] // 2]

    def __len__(self) -> int:
        return len(self.concentration)

    def to(self, device: torch.device) -> "Windows":
        """The same on another device."""
        tensors = (part.to(device) for part in (self.concentration, self.weight, self.dcdt, self.scale))
        return Windows(*tensors, self.noise)

    def chunks(self, size: int) -> Iterator["Windows"]:
        """At most `size` windows at a time."""
        for c, y in zip(self.concentration.split(size), self.dcdt.split(size)):
            yield Windows(c, self.weight, y, self.scale, self.noise)


def windows(
    frames: Frames, scale: Tensor, n_windows: int, chance: np.ndarray | None = None, smooth: bool = True
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
    return float(np.median(np.median(np.abs(difference), axis=0)) / (_MAD * _FOURTH_DIFFERENCE**0.5))

"""The frames refinement fits: single ones, or means over windows where the derivatives are noisy."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_CLEAN = 1e-4  # relative noise below which single frames say as much as windows
_NODES = 7  # frames of a window at which the model is evaluated, at most
_FOURTH_DIFFERENCE = 70.0  # variance of the fourth difference of white noise of variance 1


@dataclass(frozen=True)
class Frames:
    """What is fitted: the mean of dc/dt over each window, by the mean of the model over the same window.

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

    def chunks(self, size: int):
        """Frames of at most `size` windows."""
        for c, y in zip(self.concentration.split(size), self.dcdt.split(size)):
            yield Frames(c, self.weight, y, self.scale, self.noise)


def spread(concentration: Tensor, dcdt: Tensor, scale: Tensor, n_windows: int, chance: Tensor | None = None) -> Frames:
    """`n_windows` frames (frames, M), or windows that hold all frames if the derivatives are noisy.

    Evenly spaced, or as dense as `chance` (frames,) says.
    """
    device = concentration.device
    n_windows = min(n_windows, len(concentration))
    noise = relative_noise(dcdt, scale)
    width = len(concentration) // n_windows if noise > _CLEAN else 1
    start = torch.linspace(0, len(concentration) - width, n_windows, dtype=torch.float64, device=device)
    if chance is not None:
        reached = chance.double().cumsum(0) / chance.double().sum()
        quantiles = (torch.arange(n_windows, dtype=torch.float64, device=device) + 0.5) / n_windows
        start = (torch.searchsorted(reached, quantiles) - width // 2).clamp(0, len(concentration) - width)
    start = start.round().long()[:, None]
    node, weight = _quadrature(width)
    means = dcdt[start + torch.arange(width, device=device)].mean(1)
    nodes = concentration[start + torch.as_tensor(node, device=device)]
    return Frames(nodes, torch.as_tensor(weight, device=device), means / scale, scale, noise**2 / width)


def _quadrature(width: int) -> tuple[np.ndarray, np.ndarray]:
    """(nodes,) positions in a window of `width` frames and their weights: the mean is exact for polynomials of degree nodes - 1."""
    if width <= _NODES:
        return np.arange(width), np.full(width, 1 / width)
    node = np.round(np.linspace(0.05, 0.95, _NODES) * (width - 1)).astype(int)
    place = np.linspace(-1, 1, width)
    moments = np.polynomial.legendre.legvander(place, _NODES - 1)
    return node, np.linalg.solve(moments[node].T, moments.mean(axis=0))


def relative_noise(dcdt: Tensor, scale: Tensor) -> float:
    """Median over metabolites of the noise of dc/dt (frames, M) over `scale`, from fourth differences in time.

    Smooth trajectories leave next to nothing; jumps between runs are few, so the median over frames ignores them.
    """
    if len(dcdt) < 6:
        return 0.0
    difference = torch.diff(dcdt / scale, n=4, dim=0).abs().median(0).values
    return float((difference / (0.6745 * _FOURTH_DIFFERENCE**0.5)).median())

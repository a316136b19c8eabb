"""Concentrations that nobody measured, as further unknowns: at every time they follow what else is fitted."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stoirec.data.windows import Windows

_DAMPING, _FLOOR = 1e-3, 1e-9  # of the diagonal of J'J, and of its largest entry
_SHIFT = 1e-6  # of a log concentration, for derivatives by it
_NOTHING = 1e-30  # a slope, squared, that is none
_LONGEST = 1.0  # change of the log of a concentration in a step
_NEAR = 2  # steps, where little has changed


@dataclass(frozen=True)
class Unmeasured:
    """Metabolites that nobody measured, and what is known of them beforehand.

    Attributes:
        metabolites: (h,).
        usual, spread: mean and standard deviation of the log of the concentrations that were measured.
        range: least and largest log concentration within reach.
    """

    metabolites: Tensor
    usual: float
    spread: float
    range: tuple[float, float]

    def to(self, device: torch.device) -> "Unmeasured":
        return replace(self, metabolites=self.metabolites.to(device))

    def followed(self, windows: Windows, residual: Callable[[Windows], Tensor], steps: int = _NEAR) -> Windows:
        """Windows with the concentrations that are likeliest in each; within one they change as they do.

        Args:
            residual: (windows, residuals) of windows.
            steps: of Gauss and Newton.
        """
        log_c = self.in_the_middle(windows)
        return self._filled(windows, self.likeliest(self._of_log(windows, residual), log_c, steps)[0])

    def slopes(self, windows: Windows, residual: Callable[[Windows], Tensor]) -> Tensor:
        """(windows, residuals, h) derivatives of residuals by the log concentrations."""
        return _linearised(self._of_log(windows, residual), self.in_the_middle(windows))[1]

    def in_the_middle(self, windows: Windows) -> Tensor:
        """(windows, h) log concentrations."""
        return windows.points[:, self.metabolites].log()

    def _of_log(self, windows: Windows, residual: Callable[[Windows], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda log_c: residual(self._filled(windows, log_c))

    def _filled(self, windows: Windows, log_c: Tensor) -> Windows:
        own = windows.concentration[..., self.metabolites]
        ratio = own / windows.points[:, None, self.metabolites]
        filled = windows.concentration.index_copy(2, self.metabolites, log_c.exp()[:, None] * ratio)
        return replace(windows, concentration=filled)

    def likeliest(self, residual: Callable[[Tensor], Tensor], log_c: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """(n, h) log concentrations, each of n by itself, and (n, residuals, h) slopes there.

        What is left of the residuals counts as noise, and beforehand concentrations are as the measured are.

        Args:
            residual: (n, h) -> (n, residuals).
        """
        log_c = log_c.clamp(*self.range)
        left, slope = _linearised(residual, log_c)
        prior = self.prior(left)
        damping = torch.full_like(log_c[:, :1], _DAMPING)
        for _ in range(steps):
            off = log_c - self.usual
            trial = (log_c - _step(left, slope, damping, prior, off)).clamp(*self.range)
            other, of_trial = _linearised(residual, trial)
            gain = left.square().sum(1) - other.square().sum(1)
            better = (gain + prior * (off.square() - (trial - self.usual).square()).sum(1) > 0)[:, None]
            log_c, left = torch.where(better, trial, log_c), torch.where(better, other, left)
            slope = torch.where(better[..., None], of_trial, slope)
            damping = torch.where(better, damping / 3, 10 * damping)
        return log_c, slope

    def prior(self, residual: Tensor) -> Tensor:
        """Curvature of the prior, in units of squared residuals."""
        return residual.square().mean() / self.spread**2


def _linearised(residual: Callable[[Tensor], Tensor], log_c: Tensor) -> tuple[Tensor, Tensor]:
    """(n, residuals), and (n, residuals, h) their derivatives by log c (n, h)."""
    base, slopes = residual(log_c), []
    for column in range(log_c.shape[1]):
        moved = log_c.clone()
        moved[:, column] += _SHIFT
        slopes.append((residual(moved) - base) / _SHIFT)
    return base, torch.stack(slopes, dim=-1)


def _step(residual: Tensor, slope: Tensor, damping: Tensor, prior: Tensor, off: Tensor) -> Tensor:
    """(n, h) damped Gauss-Newton steps, to be subtracted; `prior` pulls what is `off` back."""
    matrix = slope.transpose(1, 2) @ slope + prior * torch.eye(off.shape[1], dtype=off.dtype, device=off.device)
    gradient = slope.transpose(1, 2) @ residual[..., None] + prior * off[..., None]
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    added = damping * diagonal + _FLOOR * diagonal.max().clamp(min=_NOTHING)
    return torch.linalg.solve(matrix + torch.diag_embed(added), gradient)[..., 0].clamp(-_LONGEST, _LONGEST)

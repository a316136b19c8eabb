"""Rates that are most alike, by parameters that each has for itself.

A column with other |S| than a reaction has now is not to be judged with the enzyme that was fitted to these.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_STEPS = 4
_DAMPING = 1e-3  # of the diagonal, at first
_DIFFERENCE = 1e-5  # of a parameter, whose effect is taken for its derivative


def most_alike(rates: Callable[[Tensor], Tensor], own: Tensor, target: Tensor) -> Tensor:
    """(..., frames) rates, their parameters fitted until they are most like `target`, up to a factor.

    Levenberg-Marquardt steps of all at once, the factor projected out (Kaufman 1975, BIT 15:49). They are as large as
    before: rate constants beside them hold for the parameters from which they start.

    Args:
        rates: of parameters (..., n).
        own: (..., n) from where they start.
        target: (..., frames).
    """
    rate = first = rates(own)
    unlike, damping = _unlike(rate, target), own.new_full(own.shape[:-1], _DAMPING)
    for _ in range(_STEPS if own.shape[-1] else 0):
        trial = own + _step(rates, own, rate, target, damping)
        found = rates(trial)
        left = _unlike(found, target)
        better = left < unlike
        own, rate = torch.where(better[..., None], trial, own), torch.where(better[..., None], found, rate)
        unlike, damping = torch.where(better, left, unlike), torch.where(better, damping / 10, damping * 10)
    as_large = (_product(first, first) / _product(rate, rate)).sqrt()[..., None]
    return rate * torch.where(as_large.isfinite(), as_large, 1.0)  # a rate of 0 stays one


def _step(rates: Callable[[Tensor], Tensor], own: Tensor, rate: Tensor, target: Tensor, damping: Tensor) -> Tensor:
    """(..., n) change of the parameters."""
    changes = torch.eye(own.shape[-1], dtype=own.dtype, device=own.device) * _DIFFERENCE
    slope = torch.stack([rates(own + change) - rate for change in changes], dim=-2) / _DIFFERENCE
    size = _product(rate, rate)
    factor = _product(rate, target) / size
    beside = slope - (slope @ rate[..., None]) / size[..., None, None] * rate[..., None, :]
    normal = beside @ beside.mT
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    normal = normal + torch.diag_embed(damping[..., None] * diagonal + torch.finfo(own.dtype).tiny)
    right = beside @ (target - factor[..., None] * rate)[..., None]
    step = torch.linalg.solve(normal, right)[..., 0] / factor[..., None]
    return torch.nan_to_num(step, 0.0, 0.0, 0.0)


def _unlike(rate: Tensor, target: Tensor) -> Tensor:
    """(...) share of the target's square that no multiple of the rate has."""
    return 1 - _product(rate, target).square() / (_product(rate, rate) * _product(target, target))


def _product(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(-1)

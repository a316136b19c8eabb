"""The training loss: prediction and three regularisers of the stoichiometric coefficients.

    L = L_pred + coeff_S_L1 ||sto_all||_1 + coeff_S_integer mean(sin^2(pi sto_all))
        + coeff_mass_conservation mean_j((sum_i S_ij)^2)

The source text writes the mass term once as a sum and once as a mean over reactions; this is the mean.
"""

import math

import torch
from torch import Tensor

from stoirec.kinetics.segments import segment_sum

COMPONENTS = ("prediction", "L1", "integer", "mass")


def prediction(predicted: Tensor, observed: Tensor, scale: Tensor) -> Tensor:
    """Mean squared residual of dc/dt (frames, M), each metabolite divided by its `scale` (M,)."""
    return ((predicted - observed) / scale).square().mean()


def l1(sto_all: Tensor) -> Tensor:
    """||sto_all||_1 over the edges (E,)."""
    return sto_all.abs().sum()


def integer(sto_all: Tensor) -> Tensor:
    """Mean sin^2(pi S) over the edges (E,): zero at integers, one half way between."""
    return torch.sin(math.pi * sto_all).square().mean()


def mass(sto_all: Tensor, reaction_ptr: Tensor) -> Tensor:
    """Mean over reactions of the squared column sum; edges (E,) sorted by reaction, `reaction_ptr` (R + 1,)."""
    return segment_sum(sto_all, reaction_ptr).square().mean()

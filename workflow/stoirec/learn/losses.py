"""The training loss: prediction and regularisers of the stoichiometric coefficients.

    L = L_pred + coeff_S_L1 ||sto_all||_1 + coeff_S_integer mean(sin^2(pi sto_all))
        + coeff_mass_conservation mean_j((sum_i S_ij)^2)

The source text writes the mass term once as a sum and once as a mean over reactions; this is the mean. With several
conserved quantities it is their sum.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stoirec.config.fit import FitConfig
from stoirec.kinetics.segments import segment_sum
from stoirec.network.columns import ColumnSpace


@dataclass(frozen=True)
class Columns:
    """What a regulariser may know of the columns of S.

    Attributes:
        reaction_ptr: (R + 1,) edges by reaction.
        amounts: (quantities, E) of what is conserved.
    """

    reaction_ptr: Tensor
    amounts: Tensor

    @classmethod
    def of(cls, space: ColumnSpace, dtype: torch.dtype, device: torch.device) -> "Columns":
        ptr = torch.as_tensor(space.graph.reaction_ptr, dtype=torch.int64, device=device)
        return cls(ptr, torch.as_tensor(space.amounts, dtype=dtype, device=device))


def prediction(predicted: Tensor, observed: Tensor, scale: Tensor) -> Tensor:
    """Mean squared residual of dc/dt (frames, M), each metabolite divided by its `scale` (M,)."""
    return ((predicted - observed) / scale).square().mean()


def l1(sto_all: Tensor, columns: Columns) -> Tensor:
    """||sto_all||_1 over the edges (E,)."""
    return sto_all.abs().sum()


def integer(sto_all: Tensor, columns: Columns) -> Tensor:
    """Mean sin^2(pi S) over the edges (E,): zero at integers, one half way between."""
    return torch.sin(math.pi * sto_all).square().mean()


def mass(sto_all: Tensor, columns: Columns) -> Tensor:
    """Mean over reactions of the squared column sums of what is conserved."""
    sums = [segment_sum((amounts * sto_all)[:, None], columns.reaction_ptr) for amounts in columns.amounts]
    squares = [each.square().mean() for each in sums]
    return sum(squares) if squares else sto_all.new_zeros(())


@dataclass(frozen=True)
class Regulariser:
    """A term of the loss on S alone.

    Attributes:
        name: of its curve in fit.nc (loss_<name>) and in the report.
        coefficient: FitConfig's key of its weight; first: that of the weight in the first phase, if it has one.
        value: the unweighted term of sto_all (E,).
        long_name: what the curve shows.
    """

    name: str
    coefficient: str
    value: Callable[[Tensor, Columns], Tensor]
    long_name: str
    first: str | None = None

    def weight(self, config: FitConfig, first_phase: bool) -> float:
        """Its weight; a first phase without a weight of its own has the same."""
        own = getattr(config, self.first) if self.first is not None and first_phase else None
        return getattr(config, self.coefficient) if own is None else own


REGULARISERS = (
    Regulariser("L1", "coeff_S_L1", l1, "||sto_all||_1, unweighted", "first_coeff_L1"),
    Regulariser("integer", "coeff_S_integer", integer, "mean sin^2(pi sto_all), unweighted"),
    Regulariser("mass", "coeff_mass_conservation", mass, "mean squared column sum, unweighted"),
)
PREDICTION = "prediction"
COMPONENTS = (PREDICTION, *(term.name for term in REGULARISERS))

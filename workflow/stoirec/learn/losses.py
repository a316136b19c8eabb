"""The training loss: prediction and regularisers of the stoichiometric coefficients.

    L = L_pred + coeff_S_L1 ||sto_all||_1 + coeff_S_integer mean(sin^2(pi sto_all))
        + coeff_mass_conservation mean_j((sum_i S_ij)^2)

The source text writes the mass term once as a sum and once as a mean over reactions; this is the mean. With several
conserved quantities it is their sum.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stoirec.config.fit import FitConfig
from stoirec.kinetics.segments import pointed_sum
from stoirec.network.columns import ColumnSpace

# a term (fits,), and what gives the derivatives of each fit's by its part of the first argument
Loss = tuple[Tensor, Callable[[], Tensor]]


@dataclass(frozen=True)
class Columns:
    """What a regulariser may know of the columns of S, of one fit or of several, one after the other.

    Attributes:
        reaction_ptr: (R + 1,) edges by reaction.
        amounts: (quantities, E) of what is conserved.
        n_fits: whose they are.
    """

    reaction_ptr: Tensor
    amounts: Tensor
    n_fits: int = 1

    @classmethod
    def of(cls, space: ColumnSpace, dtype: torch.dtype, device: torch.device, n_fits: int = 1) -> "Columns":
        ptr = torch.as_tensor(space.graph.reaction_ptr, dtype=torch.int64, device=device)
        return cls(ptr, torch.as_tensor(space.amounts, dtype=dtype, device=device), n_fits)

    @cached_property
    def reaction(self) -> Tensor:
        """(E,) of each edge."""
        return torch.repeat_interleave(self.reaction_ptr.diff(), output_size=self.amounts.shape[1])

    @cached_property
    def edge(self) -> Tensor:
        """(E,) each edge."""
        return torch.arange(self.amounts.shape[1], device=self.amounts.device)

    @cached_property
    def by_edge(self) -> Tensor:
        """(E, quantities) amounts."""
        return self.amounts.T.contiguous()


def prediction(predicted: Tensor, observed: Tensor, scale: Tensor, n_fits: int = 1) -> Loss:
    """Mean squared residual of dc/dt (frames, M), each metabolite divided by its `scale` (M,)."""
    residual = (predicted - observed) / scale
    value = residual.square().view(len(residual), n_fits, -1).mean((0, 2))
    return value, lambda: residual / (scale * (residual.numel() / n_fits / 2))


def l1(sto_all: Tensor, columns: Columns) -> Loss:
    """||sto_all||_1 over the edges (E,)."""
    return sto_all.abs().view(columns.n_fits, -1).sum(1), sto_all.sign


def integer(sto_all: Tensor, columns: Columns) -> Loss:
    """Mean sin^2(pi S) over the edges (E,): zero at integers, one half way between."""
    value = torch.sin(math.pi * sto_all).square().view(columns.n_fits, -1).mean(1)
    return value, lambda: torch.sin(2 * math.pi * sto_all) * (math.pi / (len(sto_all) // columns.n_fits))


def mass(sto_all: Tensor, columns: Columns) -> Loss:
    """Mean over reactions of the squared column sums of what is conserved."""
    n_reactions = (columns.reaction_ptr.shape[0] - 1) // columns.n_fits
    amounts = columns.by_edge.to(sto_all.dtype)
    sums = pointed_sum(amounts, columns.edge, columns.reaction_ptr, sto_all)  # (R, quantities)

    def slope() -> Tensor:
        return (amounts * sums.index_select(0, columns.reaction)).sum(1) * (2 / n_reactions)

    return sums.square().view(columns.n_fits, -1).sum(1) / n_reactions, slope


@dataclass(frozen=True)
class Regulariser:
    """A term of the loss on S alone.

    Attributes:
        name: of its curve in fit.nc (loss_<name>) and in the report.
        coefficient: FitConfig's key of its weight; first: that of the weight in the first phase, if it has one.
        of: the unweighted term of sto_all (E,).
        long_name: what the curve shows.
    """

    name: str
    coefficient: str
    of: Callable[[Tensor, Columns], Loss]
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


def terms(predicted: Tensor, dcdt: Tensor, scale: Tensor, coefficient: Tensor, columns: Columns) -> list[Loss]:
    """All COMPONENTS, unweighted."""
    found = [prediction(predicted, dcdt, scale, columns.n_fits)]
    return found + [term.of(coefficient, columns) for term in REGULARISERS]


def values(found: list[Loss]) -> Tensor:
    """(fits, components)."""
    return torch.stack([value for value, _ in found], dim=1)

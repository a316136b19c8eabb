"""How the residuals of some windows change with everything, by the structure of the model.

Without a limiter a residual of metabolite i depends on B only through row i, and on a reaction's F through one number
per metabolite: J'J comes from products of rates, of derivatives of rates, and of the dense part J_weights alone. With
the limiter a reaction's flux depends on all that consume its scarcest substrate, and J is dense.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stoirec.refine.functions import Functions

_LEAST = 1e-12  # of the square of a slope, and of a residual: unknowns that hardly matter are not divided by
_BLOCK = 256  # columns of J'J at once: what lies above them is known by symmetry


@dataclass(frozen=True)
class Normal:
    """J'J and J'r over (weights, B, q of substrate edges); the column sums are not in them.

    Attributes:
        matrix: (P + E + S, P + E + S).
        gradient: (P + E + S,) J'r, half the gradient.
    """

    matrix: Tensor
    gradient: Tensor

    def __add__(self, other: "Normal") -> "Normal":
        return Normal(self.matrix + other.matrix, self.gradient + other.gradient)


def _inner_products(rows: Tensor) -> Tensor:
    """(N, N) inner products of the columns of (rows, N), each pair once."""
    n_columns = rows.shape[1]
    products = rows.new_empty(n_columns, n_columns)
    for first in range(0, n_columns, _BLOCK):
        block = slice(first, first + _BLOCK)
        products[first:, block] = rows[:, first:].T @ rows[:, block]
        products[block, first + _BLOCK :] = products[first + _BLOCK :, block].T
    return products


@dataclass(frozen=True)
class Followers:
    """Unknowns of single windows, which follow what else is fitted.

    Attributes:
        slope: (windows, M, h) derivatives of residuals by them.
        off: (windows, h) how far they are from what is likely beforehand; prior: its curvature.
    """

    slope: Tensor
    off: Tensor
    prior: Tensor


@dataclass(frozen=True)
class RowWise:
    """Without a limiter.

    Attributes:
        functions: whose rates they are.
        scale: (M,) of the residuals.
        matrix: (M, R) B over scale.
        rate: (R, windows) F.
        residual: (M, windows).
        on_weights: (M, windows, P) of the residuals.
        on_size: (S, windows) dF/dq.
        followers: unknowns of single windows, if there are any.
    """

    functions: Functions
    scale: Tensor
    matrix: Tensor
    rate: Tensor
    residual: Tensor
    on_weights: Tensor
    on_size: Tensor
    followers: Followers | None = None

    def gram(self) -> Normal:
        """J'J and J'r, of what the followers leave where there are any."""
        return self._all() if self.followers is None else self._beside(self.followers, self._all())

    def _beside(self, followers: Followers, normal: Normal) -> Normal:
        """Variable projection: less what the unknowns of single windows do as well (Golub and Pereyra 1973)."""
        functions, a = self.functions, followers.slope
        reaction, metabolite = functions.reaction, functions.metabolite
        per_edge = self.rate[reaction] / self.scale[metabolite][:, None]  # (E, windows)
        parts = [
            torch.einsum("wmh,mwp->whp", a, self.on_weights),
            a[:, metabolite].transpose(1, 2) * per_edge.T[:, None],
            (a.transpose(1, 2) @ self.matrix)[..., reaction[functions.substrates]] * self.on_size.T[:, None],
            a.transpose(1, 2) @ self.residual.T[..., None] + followers.prior * followers.off[..., None],
        ]
        square = a.transpose(1, 2) @ a
        square = square + torch.diag_embed(_LEAST * square.diagonal(dim1=1, dim2=2) + followers.prior.clamp(min=_LEAST))
        factor = torch.linalg.cholesky(square)
        found = torch.linalg.solve_triangular(factor, torch.cat(parts, dim=2), upper=False).flatten(0, 1)
        own, its = found[:, :-1], found[:, -1]
        return Normal(normal.matrix - own.T @ own, normal.gradient - own.T @ its)

    def _all(self) -> Normal:
        """J'J and J'r."""
        functions, per_scale = self.functions, 1 / self.scale[self.functions.metabolite]
        n_weights, n_edges = self.on_weights.shape[2], len(per_scale)
        reaction, of_size = functions.reaction, functions.reaction[functions.substrates]
        weights, linear, sizes = (
            slice(0, n_weights),
            slice(n_weights, n_weights + n_edges),
            slice(n_weights + n_edges, None),
        )
        size = n_weights + n_edges + len(of_size)
        normal, gradient = self.residual.new_zeros(size, size), self.residual.new_zeros(size)

        rows = self.on_weights.flatten(0, 1)
        normal[weights, weights] = _inner_products(rows)
        gradient[weights] = rows.T @ self.residual.flatten()
        gradient[sizes] = (self.on_size * (self.matrix.T @ self.residual)[of_size]).sum(1)
        for metabolite, edges in enumerate(functions.edges_of_metabolite):
            own = self.rate[reaction[edges]] / self.scale[metabolite]
            normal[n_weights + edges, weights] = own @ self.on_weights[metabolite]
            gradient[n_weights + edges] = own @ self.residual[metabolite]
            touched = torch.nonzero(self.matrix[metabolite, of_size])[:, 0]
            effect = self.matrix[metabolite, of_size[touched]][:, None] * self.on_size[touched]
            normal[n_weights + n_edges + touched, weights] += effect @ self.on_weights[metabolite]

        first, second = functions.in_one_row
        rate_rate = (self.rate @ self.rate.T)[reaction[first], reaction[second]]
        normal[n_weights + first, n_weights + second] = rate_rate * per_scale[first] * per_scale[second]
        size, beside, edge = functions.sizes_in_a_row
        effect = self.matrix[functions.metabolite[edge], reaction[beside]] * per_scale[edge]
        size_rate = (self.on_size @ self.rate.T)[size, reaction[edge]]
        normal[n_weights + n_edges + size, n_weights + edge] = effect * size_rate
        size_size = self.on_size @ self.on_size.T
        normal[sizes, sizes] = (self.matrix.T @ self.matrix)[of_size[:, None], of_size] * size_size
        normal[weights, linear], normal[weights, sizes] = normal[linear, weights].T, normal[sizes, weights].T
        normal[linear, sizes] = normal[sizes, linear].T
        return Normal(normal, gradient)


@dataclass(frozen=True)
class Dense:
    """With the limiter.

    Attributes:
        residual: (M, windows).
        on_free: (M, windows, P + E).
        on_size: (M, windows, S).
    """

    residual: Tensor
    on_free: Tensor
    on_size: Tensor

    @cached_property
    def _rows(self) -> Tensor:
        return torch.cat([self.on_free, self.on_size], dim=2).flatten(0, 1)

    def gram(self) -> Normal:
        """J'J and J'r."""
        return Normal(_inner_products(self._rows), self._rows.T @ self.residual.flatten())


def with_limiter(
    functions: Functions,
    matrix: Tensor,
    scale: Tensor,
    linear: Tensor,
    rate: Tensor,
    share: Tensor,
    limiting: Tensor,
    residual: Tensor,
    on_weights: Tensor,
    on_size: Tensor,
) -> Dense:
    """J where reaction j runs at share_j F_j.

    With i the substrate that limits j, share_j = c_i / (dt D_i) and D_i = sum_l b_il F_l, b the consumption in B:
    d share_j / d F_l = -share_j b_il / D_i, d share_j / d b_il = -share_j F_l / D_i.

    Args:
        functions: whose rates they are.
        matrix: (M, R) B over scale (M,).
        linear: (E,) B.
        rate: (R, frames) F; share (R, frames), and limiting (R, frames) metabolites, M where none.
        residual: (M, frames).
        on_weights: (R, frames, P) dF/dweights; on_size: (S, frames) dF/dq.
    """
    n_metabolites, n_frames = residual.shape
    substrates = functions.substrates
    consumer, consumed_metabolite = functions.reaction[substrates], functions.metabolite[substrates]
    consumed = -linear[substrates].clamp(max=0)
    consumption = linear.new_zeros(n_metabolites, functions.graph.n_reactions)
    consumption[consumed_metabolite, consumer] = consumed
    demand = (consumption @ rate).clamp(min=torch.finfo(rate.dtype).tiny)

    # pull[t, m, i]: effect on metabolite m's residual of a relative change of D_i, over -D_i
    limited = torch.nn.functional.one_hot(limiting.T, n_metabolites + 1)[..., :-1].to(rate.dtype)  # (frames, R, M)
    pull = torch.einsum("mr,tr,tri->tmi", matrix, (share * rate).T, limited) / demand.T[:, None]
    on_rate = matrix * share.T[:, None] - pull @ consumption  # (frames, M, R)

    through_weights = torch.bmm(on_rate, on_weights.permute(1, 0, 2)).permute(1, 0, 2)
    on_linear = residual.new_zeros(n_metabolites, n_frames, len(linear))
    edge = torch.arange(len(linear), device=linear.device)
    on_linear[functions.metabolite, :, edge] = (share * rate)[functions.reaction] / scale[functions.metabolite][:, None]
    supply = rate[consumer] * (consumed > 0)[:, None]
    on_linear[:, :, substrates] += (pull[:, :, consumed_metabolite] * supply.T[:, None]).permute(1, 0, 2)
    through_size = on_rate[:, :, consumer].permute(1, 0, 2) * on_size.T
    return Dense(residual, torch.cat([through_weights, on_linear], dim=2), through_size)

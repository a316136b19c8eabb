"""How the residuals of some windows change with everything, by the structure of the model.

Without a limiter a residual of metabolite i depends on the weights and on what its own reactions have: J'J is the sum
of a small product for each metabolite, with a border as wide as there are weights. With the limiter a reaction's flux
depends on all that consume its scarcest substrate, and J is dense.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from stoirec.refine.functions import Functions

_LEAST = 1e-12  # of the square of a slope, and of a residual: unknowns that hardly matter are not divided by
_BLOCK = 96  # columns of J'J at once: what lies above them is known by symmetry


@dataclass(frozen=True, eq=False)
class Slopes:
    """(E + S, n) derivatives of B and of q, of the substrate edges, by n unknowns: few in a row.

    Attributes:
        functions: whose B and q they are.
        unknown: (E + S, most in a row) which; slope: (E + S, most) the derivatives, 0 where there are fewer.
        number: n.
    """

    functions: Functions
    unknown: Tensor
    slope: Tensor
    number: int

    @classmethod
    def of(cls, matrix: csr_array, functions: Functions) -> "Slopes":
        """Those that a sparse matrix has."""
        device = functions.device
        matrix.eliminate_zeros()
        number = np.diff(matrix.indptr)
        row = np.repeat(np.arange(len(number)), number)
        place = np.arange(len(row)) - matrix.indptr[row]
        unknown = np.zeros((len(number), number.max(initial=0)), np.int64)
        slope = np.zeros(unknown.shape)
        unknown[row, place], slope[row, place] = matrix.indices, matrix.data
        parts = torch.as_tensor(unknown, device=device), torch.as_tensor(slope, device=device)
        return cls(functions, *parts, matrix.shape[1])

    def through(self, values: Tensor) -> Tensor:
        """(..., n) derivatives by the unknowns of what has derivatives (..., E + S) by B and q."""
        found = values.new_zeros(*values.shape[:-1], self.number)
        for unknown, slope in zip(self.unknown.T, self.slope.T):
            found.index_add_(-1, unknown, values * slope)
        return found

    @cached_property
    def by_metabolite(self) -> "ByMetabolite":
        """What the residuals of each metabolite depend on."""
        number, edges, (sizes, beside) = self.number, self.functions.by_row, self.functions.sizes_by_row
        rows = torch.cat([edges, len(self.functions.reaction) + sizes])
        metabolite = self.functions.metabolite[torch.cat([edges, beside])]
        part, place = self.slope[rows].nonzero(as_tuple=True)
        keys, entry = (metabolite[part] * number + self.unknown[rows[part], place]).unique(return_inverse=True)
        shape, at = (len(keys), len(rows)), torch.stack([entry, part])
        of_parts = torch.sparse_coo_tensor(at, self.slope[rows[part], place], shape, check_invariants=False)
        counts = torch.bincount(keys // number, minlength=self.functions.graph.n_metabolites).tolist()
        unknown = keys % number
        pairs = [torch.cartesian_prod(own, own).T for own in unknown.split(counts)]
        return ByMetabolite(of_parts, keys // number, unknown, torch.cat(pairs, dim=1), counts)


@dataclass(frozen=True)
class ByMetabolite:
    """Unknowns that the residuals of metabolites depend on, through parts: B of their edges, q of their reactions.

    Attributes:
        of_parts: (entries, parts) derivatives, sparse; the parts are `by_row` and `sizes_by_row` of Functions.
        metabolite: (entries,) in order; unknown: (entries,).
        pairs: (2, n) unknowns of one metabolite, each with each.
        counts: entries of each metabolite.
    """

    of_parts: Tensor
    metabolite: Tensor
    unknown: Tensor
    pairs: Tensor
    counts: list[int]


@dataclass(frozen=True)
class Normal:
    """J'J and J'r over the weights and n other unknowns; the column sums are not in them.

    Attributes:
        matrix: (P + n, P + n).
        gradient: (P + n,) J'r, half the gradient.
    """

    matrix: Tensor
    gradient: Tensor


def _inner_products(rows: Tensor) -> Tensor:
    """(N, N) inner products of rows (N, n), each pair once."""
    products = rows.new_empty(len(rows), len(rows))
    for first in range(0, len(rows), _BLOCK):
        block = slice(first, first + _BLOCK)
        products[first:, block] = rows[first:] @ rows[block].T
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
        on_weights: (M, P, windows) of the residuals.
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

    def gram(self, slopes: Slopes) -> Normal:
        """J'J and J'r, of what the followers leave where there are any."""
        found = self._all(slopes)
        return found if self.followers is None else self._beside(self.followers, found, slopes)

    def _beside(self, followers: Followers, normal: Normal, slopes: Slopes) -> Normal:
        """Variable projection: less what the unknowns of single windows do as well (Golub and Pereyra 1973)."""
        functions, a = self.functions, followers.slope
        reaction, metabolite = functions.reaction, functions.metabolite
        per_edge = self.rate[reaction] / self.scale[metabolite][:, None]  # (E, windows)
        by_edge = a[:, metabolite].transpose(1, 2) * per_edge.T[:, None]
        by_size = (a.transpose(1, 2) @ self.matrix)[..., reaction[functions.substrates]] * self.on_size.T[:, None]
        parts = [
            torch.einsum("wmh,mpw->whp", a, self.on_weights),
            slopes.through(torch.cat([by_edge, by_size], dim=2)),
            a.transpose(1, 2) @ self.residual.T[..., None] + followers.prior * followers.off[..., None],
        ]
        square = a.transpose(1, 2) @ a
        square = square + torch.diag_embed(_LEAST * square.diagonal(dim1=1, dim2=2) + followers.prior.clamp(min=_LEAST))
        factor = torch.linalg.cholesky(square)
        found = torch.linalg.solve_triangular(factor, torch.cat(parts, dim=2), upper=False).flatten(0, 1)
        own, its = found[:, :-1], found[:, -1]
        return Normal(normal.matrix - own.T @ own, normal.gradient - own.T @ its)

    def _all(self, slopes: Slopes) -> Normal:
        """J'J and J'r."""
        n_weights = self.on_weights.shape[1]
        size = n_weights + slopes.number
        matrix, gradient = self.residual.new_zeros(size, size), self.residual.new_zeros(size)
        weights, rows = slice(0, n_weights), self.on_weights.transpose(0, 1).flatten(1)
        matrix[weights, weights] = _inner_products(rows)
        gradient[weights] = rows @ self.residual.flatten()
        entries = slopes.by_metabolite
        slope = entries.of_parts @ self._by_parts()
        by_metabolite, unknown = slope.split(entries.counts), n_weights + entries.unknown
        beside = [own @ on_weights.T for own, on_weights in zip(by_metabolite, self.on_weights)]
        matrix[:, weights].index_add_(0, unknown, torch.cat(beside))
        matrix[weights, n_weights:] = matrix[n_weights:, weights].T
        one, other = n_weights + entries.pairs
        matrix.view(-1).index_add_(0, one * size + other, torch.cat([(own @ own.T).flatten() for own in by_metabolite]))
        gradient.index_add_(0, unknown, (slope * self.residual[entries.metabolite]).sum(1))
        return Normal(matrix, gradient)

    def _by_parts(self) -> Tensor:
        """(parts, windows) derivatives of residuals by B of their metabolite's edges and q of its reactions."""
        functions, edges, (sizes, beside) = self.functions, self.functions.by_row, self.functions.sizes_by_row
        by_edge = self.rate[functions.reaction[edges]] / self.scale[functions.metabolite[edges], None]
        by_size = self.matrix[functions.metabolite[beside], functions.reaction[beside], None] * self.on_size[sizes]
        return torch.cat([by_edge, by_size])


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

    def gram(self, slopes: Slopes) -> Normal:
        """J'J and J'r."""
        n_weights = self.on_free.shape[2] - len(slopes.slope) + self.on_size.shape[2]
        on_weights, on_linear = self.on_free.split([n_weights, self.on_free.shape[2] - n_weights], dim=2)
        others = slopes.through(torch.cat([on_linear, self.on_size], dim=2))
        rows = torch.cat([on_weights, others], dim=2).flatten(0, 1)
        return Normal(_inner_products(rows.T), rows.T @ self.residual.flatten())


def with_limiter(
    functions: Functions,
    matrix: Tensor,
    scale: Tensor,
    linear: Tensor,
    rate: Tensor,
    share: Tensor,
    limiting: Tensor,
    residual: Tensor,
    order: Tensor,
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
        order: (R,) reactions of on_weights (R, P, frames), dF/dweights; on_size: (S, frames) dF/dq.
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

    through_weights = torch.bmm(on_rate[:, :, order], on_weights.permute(2, 0, 1)).permute(1, 0, 2)
    on_linear = residual.new_zeros(n_metabolites, n_frames, len(linear))
    edge = torch.arange(len(linear), device=linear.device)
    on_linear[functions.metabolite, :, edge] = (share * rate)[functions.reaction] / scale[functions.metabolite][:, None]
    supply = rate[consumer] * (consumed > 0)[:, None]
    on_linear[:, :, substrates] += (pull[:, :, consumed_metabolite] * supply.T[:, None]).permute(1, 0, 2)
    through_size = on_rate[:, :, consumer].permute(1, 0, 2) * on_size.T
    return Dense(residual, torch.cat([through_weights, on_linear], dim=2), through_size)

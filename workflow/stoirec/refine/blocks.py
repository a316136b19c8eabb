"""The inverse of the normal equations of B, by their blocks.

B of an edge changes one row of the residuals alone, and the factor of a tied reaction all rows that this has. Without
factors the equations of a row stand for themselves. With them, those of the factors are a Schur complement, and what B
of an edge becomes of factors is as sparse as the network. With weights and rate constants beside them the same is
true of the edges that do not drive their rate.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

_RIDGE = 1e-9  # of the squares of an unknown's effects: rates of one row may be the same
_LARGE, _FEW = 1000, 10  # factors from which an inverse is not built anew for a tenth that are others
_ROUNDING = 1e-14  # of entries of at most 1
_AT_ONCE = 256  # unknowns of the inverse, those near them beside


@dataclass(frozen=True)
class Inverse:
    """Of the normal equations of unknowns of which the first are B of one edge each, and the others are factors.

    Attributes:
        half: (edges, edges) inverse of the Cholesky factor of the equations of B alone, a block for each row.
        across: (edges, factors) that times what couples B and factors.
        of_factors: (factors, factors) inverse of the equations of the factors, B refitted.
        changed_from: equations of many factors alone from which those of a few changed; None where it is not worth it.
    """

    half: csr_array
    across: csr_array
    of_factors: Tensor
    changed_from: "Inverted | None" = None

    @classmethod
    def of(
        cls,
        one: Tensor,
        other: Tensor,
        value: Tensor,
        row: Tensor,
        n_edges: int,
        names: Tensor,
        like: "Inverse | None" = None,
    ) -> "Inverse":
        """Of equations that are sums over pairs (n,) of unknowns in one row, each pair both ways; `row` (n,) is it.

        `names`: (unknowns,) whole numbers by which they are known in another one, `like` which they nearly are.
        """
        number = len(names)
        n_factors, of_edge, to_edge = number - n_edges, one < n_edges, other < n_edges
        factors = torch.diag(value.new_full((n_factors,), _RIDGE))
        both = ~(of_edge | to_edge)
        place = (one[both] - n_edges) * n_factors + other[both] - n_edges
        factors.view(-1).index_add_(0, place, value[both])
        both, across = of_edge & to_edge, of_edge & ~to_edge
        half = _of_blocks(one[both], other[both], value[both], row[both])
        half = _sparse(one[both], other[both], half, (n_edges, n_edges))
        across = half @ _sparse(one[across], other[across] - n_edges, value[across], (n_edges, n_factors))
        if across.nnz:
            factors -= torch.as_tensor((across.T @ across).toarray())
        base = None if like is None or n_edges else like.changed_from
        found = None if base is None else base.changed(names, factors)
        if found is None:
            found = torch.linalg.inv(factors)
            base = None if n_edges or n_factors < _LARGE else Inverted(names, factors, found)
        return cls(half, across, found, base)

    def solve(self, right: Tensor) -> Tensor:
        """(..., unknowns) solutions for right sides (..., unknowns)."""
        n_edges = self.half.shape[0]
        if not n_edges:
            return right @ self.of_factors.T
        of_edges, of_factors = self.half @ right[..., :n_edges].numpy().T, right[..., n_edges:]
        found = (of_factors - torch.as_tensor((self.across.T @ of_edges).T)) @ self.of_factors.T
        edges = self.half.T @ (of_edges - self.across @ found.numpy().T)
        return torch.cat([torch.as_tensor(edges.T), found], dim=-1)

    def padded(self) -> Tensor:
        """(unknowns + 1, unknowns + 1) the inverse itself, and zeros behind the last."""
        n_edges, n_factors = self.across.shape
        found = self.of_factors.new_zeros(n_edges + n_factors + 1, n_edges + n_factors + 1)
        edges, factors = slice(n_edges), slice(n_edges, n_edges + n_factors)
        found[factors, factors] = self.of_factors
        if n_edges:
            through, of_rows = self.half.T @ self.across, (self.half.T @ self.half).tocoo()
            by_factors, own = through @ self.of_factors.numpy(), found[edges, edges].numpy()
            if n_factors:
                own[:] = through @ by_factors.T
            own[of_rows.coords] += of_rows.data
            found[edges, factors] = -torch.as_tensor(by_factors)
            found[factors, edges] = -torch.as_tensor(by_factors).T
        return found


@dataclass(frozen=True)
class Inverted:
    """A positive definite matrix and its inverse, (n, n) both, of unknowns with names (n,)."""

    names: Tensor
    matrix: Tensor
    inverse: Tensor

    def changed(self, names: Tensor, matrix: Tensor) -> Tensor | None:
        """The inverse of another `matrix`, of unknowns `names` in order: quadratic where few are others or differ.

        These are taken out, and the new ones are put in as a border. None where they are more than a few.
        """
        place = torch.searchsorted(self.names, names).clamp(max=len(self.names) - 1)
        there = self.names[place] == names
        kept, old = torch.nonzero(there)[:, 0], place[there]
        differs = (matrix[kept[:, None], kept] - self.matrix[old[:, None], old]).abs() > _ROUNDING
        # of two unknowns whose entry differs, the one that has most of such is another
        while len(kept) and differs.any():
            same = torch.ones(len(kept), dtype=torch.bool)
            same[differs.sum(1).argmax()] = False
            kept, old, differs = kept[same], old[same], differs[same][:, same]
            if len(names) - len(kept) > len(names) // _FEW:
                return None
        new = torch.ones_like(names, dtype=torch.bool).index_fill(0, kept, False).nonzero()[:, 0]
        out = torch.ones_like(self.names, dtype=torch.bool).index_fill(0, old, False).nonzero()[:, 0]
        if max(len(new), len(out)) > len(names) // _FEW:
            return None
        # near a singular one the inverse is symmetric but for large rounding errors: nothing is transposed
        to_out, of_out, from_out = (self.inverse[i[:, None], j] for i, j in ((old, out), (out, out), (out, old)))
        left = self.inverse[old[:, None], old] - to_out @ torch.linalg.solve(of_out, from_out)
        to_new, of_new, from_new = (matrix[i[:, None], j] for i, j in ((kept, new), (new, new), (new, kept)))
        found = torch.empty_like(matrix)
        found[new[:, None], new] = of_new = torch.linalg.inv(of_new - from_new @ left @ to_new)
        found[kept[:, None], new] = to_left = -left @ to_new @ of_new
        found[new[:, None], kept] = -of_new @ (from_new @ left)
        found[kept[:, None], kept] = left - to_left @ (from_new @ left)
        return found


@dataclass(frozen=True)
class Eliminated:
    """A positive definite matrix from which unknowns are eliminated that meet, of each other, those of their row alone.

    The inverse is through inverse(kept) through' + half' half.

    Attributes:
        factor: (kept, kept) lower Cholesky factor of the Schur complement of those that are kept.
        through: (unknowns, kept) what all become of these.
        half: (unknowns, unknowns) inverse of the Cholesky factor of a block for each row; 0 of those that are kept.
    """

    factor: Tensor
    through: csr_array
    half: csr_array

    @classmethod
    def of(cls, matrix: Tensor, row: Tensor) -> "Eliminated | None":
        """`row`: (unknowns,) that of one to eliminate, -1 of one to keep. None if the matrix is singular."""
        kept, left = torch.nonzero(row < 0)[:, 0], torch.nonzero(row >= 0)[:, 0]
        left, number = left[row[left].argsort(stable=True)], torch.bincount(row[left])
        schur = matrix[kept[:, None], kept]
        through, half = [(kept, torch.arange(len(kept)), schur.new_ones(len(kept)))], []
        for own in left.split(number[number > 0].tolist()) if len(left) else ():
            across = matrix[own][:, kept]
            near = torch.nonzero(across.any(0))[:, 0]
            factor, failed = torch.linalg.cholesky_ex(matrix[own[:, None], own])
            if failed:
                return None
            inverse = torch.linalg.solve_triangular(factor, torch.eye(len(own), dtype=factor.dtype), upper=False)
            across = inverse @ across[:, near]
            schur[near[:, None], near] -= across.T @ across
            through.append(_entries(own, near, -inverse.T @ across))
            half.append(_entries(own, own, inverse))
        factor, failed = torch.linalg.cholesky_ex(schur)
        return None if failed else cls(factor, _joined(through, len(row), len(kept)), _joined(half, len(row), len(row)))

    def solve(self, right: Tensor) -> Tensor:
        """(unknowns,) for a right side (unknowns,)."""
        of_kept = torch.as_tensor(self.through.T @ right.numpy())[:, None]
        found = self.through @ torch.cholesky_solve(of_kept, self.factor)[:, 0].numpy()
        return torch.as_tensor(found + self.half.T @ (self.half @ right.numpy()))

    def inverse_of(self, groups: Tensor) -> Tensor:
        """(G, n, n) of the inverse, for groups (G, n) of unknowns, of which no two were eliminated in one row."""
        found = []
        for some in groups.split(max(1, _AT_ONCE // groups.shape[1])):
            through = self.through[some.flatten().numpy()]
            columns = np.unique(through.indices)
            along, near = torch.as_tensor(through[:, columns].toarray()), torch.as_tensor(columns)
            every = along @ self._inverse[near[:, None], near] @ along.T
            every = every.view(*some.shape, *some.shape).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
            found.append(every + torch.diag_embed(self._of_rows[some]))
        return torch.cat(found)

    @cached_property
    def _of_rows(self) -> Tensor:
        """(unknowns,) diagonal of the inverse of the blocks."""
        return torch.as_tensor(self.half.multiply(self.half).sum(0))

    @cached_property
    def _inverse(self) -> Tensor:
        return torch.cholesky_inverse(self.factor)


def _entries(rows: Tensor, columns: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of a sparse matrix: those of a dense part (rows, columns) of it."""
    return rows.repeat_interleave(len(columns)), columns.repeat(len(rows)), values.flatten()


def _joined(parts: list[tuple[Tensor, Tensor, Tensor]], n_rows: int, n_columns: int) -> csr_array:
    row, column, value = (torch.cat(part) for part in zip(*parts)) if parts else (torch.empty(0),) * 3
    return _sparse(row, column, value, (n_rows, n_columns))


def _of_blocks(one: Tensor, other: Tensor, value: Tensor, row: Tensor) -> Tensor:
    """(n,) entries of the inverse Cholesky factor, for as many of a matrix that has a block for each row.

    All blocks of a size at once.
    """
    found = torch.empty_like(value)
    if not len(one):
        return found
    unknown, first = one.unique(return_inverse=True)
    of_row = torch.empty_like(unknown).index_copy(0, first, row)
    size = torch.bincount(of_row)
    order = of_row.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order)) - (size.cumsum(0) - size)[of_row[order]]
    second = torch.searchsorted(unknown, other)
    for n in size[size > 0].unique().tolist():
        some = torch.nonzero(size[row] == n)[:, 0]
        block = (size == n).cumsum(0)[row[some]] - 1
        at = block, place[first[some]], place[second[some]]
        blocks = torch.diag_embed(value.new_full((int(block.max()) + 1, n), _RIDGE))
        factor = torch.linalg.cholesky(blocks.index_put(at, value[some], accumulate=True))
        one_each = torch.eye(n, dtype=value.dtype)
        found[some] = torch.linalg.solve_triangular(factor, one_each, upper=False)[at]
    return found


def _sparse(row: Tensor, column: Tensor, value: Tensor, shape: tuple[int, int]) -> csr_array:
    return csr_array((value.numpy(), (row.numpy(), column.numpy())), shape)

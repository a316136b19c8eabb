"""Reversible reactions: two columns, one the other's opposite, weighed as one column with two rate constants.

Near equilibrium the two rates nearly cancel, and neither direction says much alone.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stoirec.refine.equations import Equations
from stoirec.refine.gains import NOTHING, Gains, rates_at
from stoirec.refine.others import Others
from stoirec.refine.state import State

_AT_ONCE = 1 << 15  # columns
_LARGEST = 1 << 24  # numbers between two sets of rates: where there are more, directions are weighed one by one
_WEAK = 1e-6  # of the rate constant of the other direction, at least
_PARALLEL = 1e-9  # of a square, or of the product of two: less is left of effects that are the same


@dataclass(frozen=True)
class _Effects:
    """What both directions can explain, as Others.beside_both says it."""

    forward: Tensor
    backward: Tensor
    of_forward: Tensor
    of_backward: Tensor
    between: Tensor


def joined(
    equations: Equations,
    state: State,
    others: Others,
    level: Tensor,
    pair: tuple[int, int],
    single: tuple[Gains, Gains],
    penalty: tuple[Tensor | None, Tensor | None] = (None, None),
) -> tuple[Gains, Gains]:
    """`single`, what the columns of a forward and a backward reaction gain, with what both gain together.

    Args:
        pair: (forward, backward); others: in which they may be.
        penalty: as of `gains`, of each direction.
    """
    functions = equations.functions
    forward, backward = single
    mirror = functions.mirrored(*pair)
    columns = torch.nonzero(functions.sides(pair[0]).conserved.flatten())[:, 0]
    opposite = mirror[columns]
    found = _of_both(equations, state, others, level, pair, columns, opposite, penalty)
    if found is None:  # one by one: what each explains beside the other
        own, its = (each.gain.flatten()[at].clamp(min=0) for each, at in ((forward, columns), (backward, opposite)))
        k = torch.stack([each.k.flatten()[at] for each, at in ((forward, columns), (backward, opposite))])
        found = own + its, k
    gain, k = found
    gain = torch.where(gain > NOTHING, gain, -torch.inf)
    k = torch.maximum(k, _WEAK * k.flip(0))
    one, other = (
        replace(each, gain=_spread(each.gain, at, gain, -torch.inf), k=_spread(each.k, at, own, 0.0))
        for each, at, own in ((forward, columns, k[0]), (backward, opposite, k[1]))
    )
    return one, other


def _spread(like: Tensor, at: Tensor, values: Tensor, otherwise: float) -> Tensor:
    return torch.full_like(like, otherwise).flatten().index_copy(0, at, values).reshape(like.shape)


def _of_both(
    equations: Equations,
    state: State,
    others: Others,
    level: Tensor,
    pair: tuple[int, int],
    columns: Tensor,
    opposite: Tensor,
    penalty: tuple[Tensor | None, Tensor | None],
) -> tuple[Tensor, Tensor] | None:
    """(N,) gains of `columns`, positions among the pairs of the forward reaction, and (2, N) rate constants.

    None where there are too many rates, or others share one.
    """
    functions = equations.functions
    sides = [functions.sides(reaction) for reaction in pair]
    each = torch.tensor(pair, device=level.device)[:, None]
    rate = [rates_at(equations, state, others, level, reactions)[0] for reactions in each]
    n_edges = len(sides[0].drives)
    if len(rate[0]) * len(rate[1]) * n_edges**2 > _LARGEST:
        return None
    *parts, shared = others.beside_both(*pair, *rate)
    if shared:
        return None
    effects = _Effects(*parts)
    driving = [at // len(of.others) for at, of in zip((columns, opposite), sides)]
    size = [of.size_of[at] for of, at in zip(sides, driving)]
    gain, k = [], []
    for part in torch.arange(len(columns), device=level.device).split(_AT_ONCE):
        column = sides[0].columns(columns[part])
        own, best = _best_of_two(effects, column, size[0][part], size[1][part])
        if penalty[0] is not None and penalty[1] is not None:
            last = [torch.full_like(of[part], len(at) - 1) for of, at in zip(size, rate)]
            present, at_present = _best_of_two(effects, column, *last)
            present = present - penalty[0][driving[0][part]] - penalty[1][driving[1][part]]
            best = torch.where(present > own, at_present, best)
            own = torch.maximum(own, present)
        gain.append(own)
        k.append(best)
    return torch.cat(gain), torch.cat(k, dim=1)


def _best_of_two(effects: _Effects, column: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) gains of columns (N, n) at the rates u, v (N,) of the directions, and the best (2, N) k >= 0."""

    def quadratic(matrix: Tensor) -> Tensor:
        return torch.einsum("pi,pij,pj->p", column, matrix, column)

    tiny = torch.finfo(column.dtype).tiny
    slope = torch.stack([(column * effects.forward[u]).sum(1), -(column * effects.backward[v]).sum(1)])
    square = torch.stack([quadratic(effects.of_forward[u]), quadratic(effects.of_backward[v])]).clamp(min=tiny)
    # what the others can do as well is rounding: nothing is said of it
    slope = torch.where(square > _PARALLEL * square.max(1, keepdim=True).values, slope, 0.0)
    between = -quadratic(effects.between[u, v])
    k = slope.clamp(min=0) / square  # one direction alone
    is_first = k[0] * slope[0] >= k[1] * slope[1]
    alone = torch.where(torch.stack([is_first, ~is_first]), k, 0.0)
    determinant = square[0] * square[1] - between.square()
    both = (slope * square.flip(0) - slope.flip(0) * between) / determinant.clamp(min=tiny)
    is_both = (both > 0).all(0) & (determinant > _PARALLEL * square[0] * square[1])
    k = torch.where(is_both, both, alone)
    return (k * slope).sum(0), k

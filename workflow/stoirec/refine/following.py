"""Lengths that the functions do not tell: fitted to the other one, they leave as little.

A column p at a rate constant k and 2 p at k / 2 differ by what the functions make of |S| alone, and these are learned.
Beside functions that stay as they are, the other length may leave far more, and yet hardly more once they are fitted to
it. To first order that is known at once: the way of a reaction's rate from one length to the other is one unknown more
in the normal equations, by a secant in place of a derivative, and what is left of it beside all others is its Schur
complement. Where that is little, the fit tells.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array, hstack
from torch import Tensor

from stoirec.refine.descent import SCORE_DAMPING, damp, through_sizes, unknowns
from stoirec.refine.equations import Equations
from stoirec.refine.gains import at_level, levels
from stoirec.refine.jacobian import Normal, Slopes
from stoirec.refine.lengths import AS_GOOD, as_good, fitted, with_other_lengths
from stoirec.refine.selection import is_noise
from stoirec.refine.state import State

_FOLLOWS = 0.5  # of what another length leaves beside functions as they are: less, and these follow it
_WITHIN_REACH = 100.0  # times what is too much: more than that, to first order, and no fit of the functions mends it


def open_to_functions(
    equations: Equations, state: State, column: Tensor, asked: Tensor, descend: Callable[[State], State]
) -> Tensor:
    """(R,) bool, which of the reactions `asked` leave as little with their other length, once functions are fitted.

    Each is exchanged by itself, a reversible one in both directions, where functions may follow.

    Args:
        equations, state: all reactions are tied.
        column: (E,) integers they are tied to.
        asked: (R,) bool.
        descend: fits the functions.
    """
    found, columns = torch.zeros_like(asked), column.cpu().numpy()
    groups = _that_may_change(equations, columns, asked)
    if not groups or not equations.functions.learns_sizes:
        return found
    other, group = column.clone(), torch.full_like(state.log_k, -1, dtype=torch.int64)
    for number, reactions in enumerate(groups):
        group[list(reactions)] = number
        for reaction in reactions:
            edges = equations.graph.edges_of(reaction)
            other[edges] = column.new_tensor(equations.functions.space.other_length(reaction, columns[edges]))
    rest, times = left_by_other_lengths(equations, state, other, group), _as_good(equations, state)
    within_reach = rest.at_fitted <= _WITHIN_REACH * (times - 1) * rest.left
    follow = within_reach & (rest.at_fitted <= _FOLLOWS * rest.at_fixed)
    goals = as_good(state, descend, times)
    for number in torch.nonzero(follow)[:, 0].tolist():
        goals, own = itertools.tee(goals)
        if fitted(with_other_lengths(equations, state, columns, np.array(groups[number])), descend, own) is not None:
            found[list(groups[number])] = True
    return found


def _as_good(equations: Equations, state: State) -> float:
    """Times what is left, at most, that is as good: where that is noise, columns are clear from little more on."""
    if not is_noise(equations, state):
        return AS_GOOD
    judgement = equations.judgement
    odds = math.log(judgement.clear / (1 - judgement.clear))
    return min(AS_GOOD, math.exp(2 * judgement.alike * odds / equations.n_residuals))


def _that_may_change(equations: Equations, columns: np.ndarray, asked: Tensor) -> list[tuple[int, ...]]:
    """Reactions, alone or with their reverse, of those `asked` that something drives and that have another length."""
    graph, functions = equations.graph, equations.functions
    drives = np.bincount(graph.edge_reaction, graph.edge_is_substrate & (columns != 0), graph.n_reactions) > 0
    may = [
        bool(asked[reaction])
        and bool(drives[reaction])
        and functions.space.other_length(reaction, columns[graph.edges_of(reaction)]) is not None
        for reaction in range(graph.n_reactions)
    ]
    pairs = [pair for pair in functions.reversals if all(may[reaction] for reaction in pair)]
    alone = [(reaction,) for reaction in np.flatnonzero(may).tolist() if reaction not in functions.partner]
    return [*alone, *pairs]


@dataclass(frozen=True)
class Left:
    """What other lengths add to the sum of squared residuals, to first order, for each of some groups of reactions.

    Attributes:
        at_fixed: (groups,) beside B alone, at fixed functions; at_fitted: (groups,) beside the functions as well.
        left: the sum of squared residuals as they are.
    """

    at_fixed: Tensor
    at_fitted: Tensor
    left: float


def left_by_other_lengths(equations: Equations, state: State, other: Tensor, group: Tensor) -> Left:
    """Of groups of tied reactions that change their lengths together.

    Args:
        other: (E,) integer columns of the other length, where a reaction is in a group.
        group: (R,) number of a reaction's group, -1 of those in none; each has a substrate.
    """
    n_weights, n_groups = len(state.weights), int(group.max()) + 1
    normal = _with_secants(equations, state, other, group)
    matrix = damp(normal.matrix[:-n_groups, :-n_groups], SCORE_DAMPING)
    beside, square = normal.matrix[:-n_groups, -n_groups:], normal.matrix.diagonal()[-n_groups:]

    def is_left(of: slice) -> Tensor:
        factor, failed = torch.linalg.cholesky_ex(matrix[of, of])
        if failed:  # nothing is known to be left
            return torch.zeros_like(square)
        return square - (beside[of] * torch.cholesky_solve(beside[of], factor)).sum(0)

    n = equations.n_residuals
    every, others = slice(None), slice(n_weights, None)
    return Left(n * is_left(others), n * is_left(every), n * equations.cost(state)[1])


def _with_secants(equations: Equations, state: State, other: Tensor, group: Tensor) -> Normal:
    """The normal equations of the weights and what else moves by itself; last an unknown for each group.

    It leads every rate of the group from that by the present length, at 0, to that by the other, as fast, at 1.
    """
    functions = equations.functions
    moved, first, sizes = torch.nonzero(group >= 0)[:, 0], functions.law.ptr[:-1], functions.size(state)
    at_other = at_level(levels(equations, state), functions.sizes(other))
    changed = torch.where((group >= 0)[functions.reaction], at_other, sizes)
    parameters = functions.law.unpack(state.weights)

    def rates(points: Tensor) -> list[Tensor]:
        return [functions.law.rates(parameters, points, each[functions.substrates])[moved] for each in (sizes, changed)]

    now, then = rates(equations.windows.points)
    square = then.square().sum(1, keepdim=True)
    factor = (now * then).sum(1, keepdim=True) / square.clamp(min=torch.finfo(square.dtype).tiny)

    def secants(points: Tensor, on_size: Tensor) -> Tensor:
        """In the place of the derivatives by q of one substrate, which does not move: its column is tied."""
        now, then = rates(points)
        return on_size.index_copy(0, first[moved], factor * then - now)

    _, by_moves = unknowns(functions, state)
    own = by_moves(through_sizes(functions, state))
    rows = (len(state.linear) + first[moved]).cpu().numpy()
    entries = np.ones(len(rows)), (rows, group[moved].cpu().numpy())
    of_groups = csr_array(entries, (own.shape[0], int(group.max()) + 1))
    return equations.normal(state, Slopes.of(csr_array(hstack([own, of_groups])), functions), secants)

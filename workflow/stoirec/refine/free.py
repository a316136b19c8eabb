"""All B free, with rate constants and functions fitted anew: what the data leave open where functions are uncertain."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stoirec.refine.blocks import Eliminated
from stoirec.refine.descent import SCORE_DAMPING, damp, free_equations
from stoirec.refine.equations import Equations
from stoirec.refine.state import State

_EXACT = 1e-12  # mean squared residual below which rounding errors are left


@dataclass(frozen=True)
class FreeColumns:
    """B of reactions (G,) on n edges (G, n) of each, from one Gauss-Newton step; nothing is conserved.

    Attributes:
        linear: (G, n) B.
        covariance: (G, n, n), were the residuals independent.
    """

    reactions: Tensor
    edges: Tensor
    linear: Tensor
    covariance: Tensor


def free_estimate(equations: Equations, state: State) -> list[FreeColumns] | None:
    """Of all reactions, those with as many edges that the step moves together.

    At a `state` with real |S| in the functions; None if J'J is singular, or the functions describe too little.
    """
    residual = equations.cost(state)[1]
    if residual >= equations.judgement.described:
        return None
    everything = torch.ones_like(state.log_k, dtype=torch.bool)
    free = free_equations(equations, replace(state, tied=None, closed=None, outside=everything), opposite=False)
    of_edges = slice(len(state.weights), len(state.weights) + len(state.linear))
    row = torch.full_like(free.moves, -1, dtype=torch.int64)
    row[of_edges] = _row_of_its_own(equations)
    inverse = Eliminated.of(damp(free.matrix, SCORE_DAMPING), row[free.moves])
    if inverse is None:
        return None
    linear = state.linear - free.on_all(inverse.solve(free.gradient))[of_edges]
    moves, place = free.moves[of_edges], free.moves.cumsum(0)[of_edges] - 1
    del free  # far larger than what is left
    variance = max(residual, _EXACT) / equations.n_residuals
    return [
        FreeColumns(reactions, edges, linear[edges], variance * inverse.inverse_of(place[edges]))
        for reactions, edges in _by_number(equations.reaction, moves)
    ]


def _row_of_its_own(equations: Equations) -> Tensor:
    """(E,) the metabolite whose residuals alone B of an edge changes, as one that drives no rate does; -1 of others."""
    if equations.unmeasured is not None:  # concentrations follow, and with them everything
        return torch.full_like(equations.metabolite, -1)
    return equations.metabolite.index_fill(0, equations.functions.substrates, -1)


def _by_number(reaction: Tensor, moves: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Reactions (G,) with as many edges that move, and these (G, n); `reaction` and `moves` (E,) are those of edges."""
    moving = torch.nonzero(moves)[:, 0]
    number = torch.bincount(reaction[moving])
    first = number.cumsum(0) - number
    for n in number[number > 0].unique().tolist():
        reactions = torch.nonzero(number == n)[:, 0]
        yield reactions, moving[first[reactions, None] + torch.arange(n, device=moving.device)]

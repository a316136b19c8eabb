"""All B free, with rate constants and functions fitted anew: what the data leave open where functions are uncertain."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stoirec.refine.descent import SCORE_DAMPING, damped, free_equations
from stoirec.refine.equations import Equations
from stoirec.refine.state import State

_EXACT = 1e-12  # mean squared residual below which rounding errors are left


@dataclass(frozen=True)
class FreeEstimate:
    """B with a covariance, from one Gauss-Newton step; nothing is conserved.

    Attributes:
        linear: (E,) B.
        moves: (E,) bool, which n of them the step moves.
        covariance: (n, n) of these, were the residuals independent.
    """

    linear: Tensor
    covariance: Tensor
    moves: Tensor

    def by_number(self, reaction: Tensor) -> Iterator["FreeColumns"]:
        """Of reactions with as many edges that the step moves; `reaction` (E,) is that of each edge."""
        moving = torch.nonzero(self.moves)[:, 0]
        number = torch.bincount(reaction[moving])
        first = number.cumsum(0) - number
        for n in number[number > 0].unique().tolist():
            reactions = torch.nonzero(number == n)[:, 0]
            own = first[reactions, None] + torch.arange(n, device=moving.device)
            edges, covariance = moving[own], self.covariance[own[:, :, None], own[:, None]]
            yield FreeColumns(reactions, edges, self.linear[edges], covariance)


@dataclass(frozen=True)
class FreeColumns:
    """Reactions (G,) with n edges (G, n) that move, their B (G, n) and its covariance (G, n, n)."""

    reactions: Tensor
    edges: Tensor
    linear: Tensor
    covariance: Tensor


def free_estimate(equations: Equations, state: State) -> FreeEstimate | None:
    """At a `state` with real |S| in the functions; None if J'J is singular, or the functions describe too little."""
    residual = equations.cost(state)[1]
    if residual >= equations.judgement.described:
        return None
    everything = torch.ones_like(state.log_k, dtype=torch.bool)
    free = free_equations(equations, replace(state, tied=None, closed=None, outside=everything), opposite=False)
    factor, failed = torch.linalg.cholesky_ex(damped(free.matrix, SCORE_DAMPING))
    if failed:
        return None
    n_weights, n_edges = len(state.weights), len(state.linear)
    linear = slice(n_weights, n_weights + n_edges)
    moves, step = free.moves[linear], free.on_all(torch.cholesky_solve(free.gradient[:, None], factor)[:, 0])[linear]
    del free  # as large as what follows
    own = slice(n_weights, n_weights + int(moves.sum()))
    covariance = torch.cholesky_inverse(factor)[own, own].mul_(max(residual, _EXACT) / equations.n_residuals)
    return FreeEstimate(state.linear - step, covariance, moves)

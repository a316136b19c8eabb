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
        covariance: (E, E), were the residuals independent.
        moves: (E,) bool, which of them the step moves.
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
            edges = moving[first[reactions, None] + torch.arange(n, device=moving.device)]
            covariance = self.covariance[edges[:, :, None], edges[:, None]]
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
    matrix, gradient = free_equations(
        equations, replace(state, tied=None, closed=None, outside=everything), opposite=False
    )
    moves = (gradient != 0) | (matrix.diagonal() != 1)  # the others are held, as free_equations marks them
    factor, failed = torch.linalg.cholesky_ex(damped(matrix, SCORE_DAMPING))
    if failed:
        return None
    linear = slice(len(state.weights), len(state.weights) + len(state.linear))
    step = torch.cholesky_solve(gradient[:, None], factor)[linear, 0]
    variance = max(residual, _EXACT) / equations.n_residuals
    covariance = variance * torch.cholesky_inverse(factor)[linear, linear]
    return FreeEstimate(state.linear - step, covariance, moves[linear])

"""Rounds of refinement on fixed frames: the whole of it, step by step."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from stoirec.graph import Graph
from stoirec.limiter import FluxLimiter
from stoirec.refine.columns import as_fast, decode
from stoirec.refine.descent import EXACT, SCORE_DAMPING, damped, descend, free_equations
from stoirec.refine.equations import Equations
from stoirec.refine.frames import Frames
from stoirec.refine.functions import Functions
from stoirec.refine.lengths import choose_lengths
from stoirec.refine.selection import Stage, in_integers, select
from stoirec.refine.state import State

_RELAXED = 3e-8  # mean squared residual from which rounds do the rest faster
_SETTLED = 2  # rounds that change no column, after which there are no more
_FALLING = 1 / 3  # a round that leaves less of the residual counts as a change: the directions of weak reactions still turn


class Refinement:
    """Refinement of two MLPs and S on a graph.

    Args:
        graph: candidate edges.
        sign: (E,) -1 or +1, the sign every edge's coefficient is held to.
        substrate_func, rate_func: MLPs of the shapes to refine.
        frames: what is fitted, in double precision.
        gated: whether a coefficient of 0 silences a substrate; then columns may have zeros, and edges are selected.
        limiter: of the model, or None.
    """

    def __init__(
        self,
        graph: Graph,
        sign: np.ndarray,
        substrate_func: nn.Sequential,
        rate_func: nn.Sequential,
        frames: Frames,
        gated: bool = False,
        limiter: FluxLimiter | None = None,
    ) -> None:
        self.graph = graph
        signs = torch.as_tensor(sign, dtype=torch.float64, device=frames.dcdt.device)
        self.functions = Functions(graph, substrate_func, rate_func, signs, gated)
        self.equations = Equations(self.functions, frames, limiter)

    def relax(self, state: State, steps: int) -> State:
        """Levenberg-Marquardt steps on the model as it was trained, with real coefficients inside the functions."""
        return descend(self.equations, state, steps, _RELAXED)

    def select(self, state: State, steps: int, stage: Stage) -> State:
        """Weigh the columns of all reactions, close the edges that seem to be decoys, keep what is clear, then relax."""
        return self._descend(select(self.equations, state, stage), steps, _RELAXED)

    @staticmethod
    def relaxed(state: State) -> bool:
        """Whether rounds do the rest faster, or selections that committed themselves change no column."""
        return state.cost < _RELAXED or (state.pattern is None and state.settled >= _SETTLED)

    def round(self, state: State, steps: int) -> State:
        """Fit with the columns fixed inside the functions, test lengths, decode; decodes first if there are no columns yet.

        Where edges were selected there is one round, of decode and fit: one wrong edge makes many lengths look wrong. Where
        all reactions are tied to columns these are the answer, for the directions of weak reactions' B say less than the
        evidence of all columns.
        """
        if state.pattern is None and state.tied is not None and state.tied.all():
            fitted = self._descend(in_integers(self.equations, state), steps)
            return replace(decode(self.equations, fitted), settled=_SETTLED)
        if state.pattern is None:
            state = as_fast(self.equations, state, decode(self.equations, state))
        fitted = self._descend(state, steps)
        if self.functions.gated:
            return replace(fitted, settled=_SETTLED)
        decoded = decode(self.equations, choose_lengths(self.equations, fitted))
        return replace(decoded, settled=0) if fitted.cost < _FALLING * state.cost else decoded

    @staticmethod
    def finished(state: State) -> bool:
        """Whether another round would change nothing."""
        return (state.pattern is not None and state.settled >= _SETTLED) or state.cost < EXACT

    def _descend(self, state: State, steps: int, enough: float = EXACT) -> State:
        """`descend` on the open edges: a graph without the closed ones is smaller."""
        if state.closed is None:
            return descend(self.equations, state, steps, enough)
        edges = torch.nonzero(~state.closed)[:, 0]
        pattern = None if state.pattern is None else state.pattern[edges]
        found = descend(self.equations.part(edges), replace(state, linear=state.linear[edges], pattern=pattern, closed=None), steps, enough)
        linear = torch.zeros_like(state.linear).index_copy(0, edges, found.linear)
        return replace(found, linear=linear, pattern=state.pattern, closed=state.closed)

    def coefficient(self, state: State) -> Tensor:
        """(E,) real coefficients B / k."""
        return state.linear / 10 ** state.log_k[self.functions.reaction]

    def coefficient_se(self, state: State) -> Tensor:
        """(E,) standard errors of the coefficients; the weights' uncertainty is in them."""
        matrix, _ = free_equations(self.equations, state)
        factor, failed = torch.linalg.cholesky_ex(damped(matrix, SCORE_DAMPING))
        if failed:
            return torch.full_like(state.linear, math.inf)
        linear = slice(len(state.weights), len(state.weights) + len(state.linear))
        variance = torch.cholesky_inverse(factor).diagonal()[linear] * state.cost / self.equations.n_residuals
        return variance.sqrt() / 10 ** state.log_k[self.functions.reaction]

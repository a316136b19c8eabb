"""Rounds of refinement on fixed frames: the whole of it, step by step."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from stoirec.kinetics.limiter import FluxLimiter
from stoirec.network.graph import Graph
from stoirec.refine.columns import LARGEST
from stoirec.refine.descent import SCORE_DAMPING, damped, descend, free_equations
from stoirec.refine.equations import Equations
from stoirec.refine.evidence import Evidence, weigh
from stoirec.refine.frames import Frames
from stoirec.refine.functions import Functions
from stoirec.refine.selection import SETTLED, Stage, in_integers, is_noise, select
from stoirec.refine.state import State

_STALLED = 0.5  # of the mean squared residual: if a round with some reactions tied leaves more, its ties do not help
_FITS, _AS_GOOD = (
    4,
    2.0,
)  # of integers in the functions, at most; times the residual before: with a gate 1 is far from what stood for it


class Refinement:
    """Refinement of two MLPs and S on a graph.

    Args:
        graph: candidate edges.
        sign: (E,) -1 or +1, the sign every edge's coefficient is held to.
        substrate_func, rate_func: MLPs of the shapes to refine.
        frames: what is fitted, in double precision.
        gated: whether a coefficient of 0 silences a substrate; then columns may have zeros.
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

    def round(self, state: State, steps: int, stage: Stage) -> State:
        """Weigh the columns of all reactions, keep what the evidence says at this stage, then Levenberg-Marquardt steps if that is not all.

        Ties that do not help are let go for a round, and closed edges with them: a wrong one holds up the residual, and the
        functions grow around it.
        """
        if state.stalled and stage == "tie":
            gated = self.functions.gated
            free = (
                select(self.equations, state, "close") if gated else replace(state, tied=torch.zeros_like(state.tied))
            )
            return self._descend(replace(free, stalled=False), steps)
        selected = select(self.equations, state, stage)
        if self.settled(selected):
            return replace(state, settled=selected.settled)
        found = self._descend(selected, steps)
        some = bool(found.tied.any()) and not bool(found.tied.all())
        return replace(
            found, stalled=some and found.cost > _STALLED * state.cost and not is_noise(self.equations, found)
        )

    @staticmethod
    def settled(state: State) -> bool:
        """Whether all reactions are tied to their likeliest columns, which are clear or do not change any more."""
        return state.settled >= SETTLED

    def finish(self, state: State, steps: int) -> State:
        """The columns the reactions are tied to as integers in the functions, which are fitted until they are as good as before.

        The columns are the answer, not the directions of B refitted freely: those of weak reactions say less than the
        evidence of all columns.
        """
        fitted = in_integers(self.equations, state)
        for _ in range(_FITS):
            fitted = self._descend(fitted, steps)
            if fitted.cost < _AS_GOOD * state.cost:
                break
        size = (self.functions.sign * self.coefficient(fitted)).round().clamp(0 if self.functions.gated else 1, LARGEST)
        return replace(fitted, pattern=self.functions.sign * size)

    def evidence(self, state: State) -> Evidence:
        """What each column of a reaction explains at `state`, before `finish`: integers in the functions disturb them."""
        return weigh(self.equations, state)

    def _descend(self, state: State, steps: int) -> State:
        """`descend` on the open edges: a graph without the closed ones is smaller."""
        edges = torch.nonzero(~state.closed)[:, 0]
        found = descend(self.equations.part(edges), replace(state, linear=state.linear[edges], closed=None), steps)
        linear = torch.zeros_like(state.linear).index_copy(0, edges, found.linear)
        return replace(found, linear=linear, closed=state.closed)

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

"""The objective and its Gauss-Newton normal equations, by the structure of the model.

The objective is the mean squared residual plus a small weight on relative column sums (zero by mass balance). A
residual of metabolite i depends on B only through row i, and on a reaction's F through one number per metabolite:
J'J comes from products of rates, of derivatives of rates, and of the dense part J_weights alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stoirec.refine.frames import Frames
from stoirec.refine.functions import Functions
from stoirec.refine.state import State

MASS = 1e-2  # weight of the relative column sums, against the mean squared residual
_CHUNK = 50  # windows per block of the Jacobian: bounds memory
_FRAMES_AT_ONCE = 1000  # in an evaluation of the rates alone


@dataclass(frozen=True)
class Normal:
    """J'J and J'r over (weights, B, q of substrate edges), per residual; the column sums are not in them.

    Attributes:
        matrix: (P + E + S, P + E + S).
        right: (P + E + S,).
    """

    matrix: Tensor
    right: Tensor


class Equations:
    """Residuals of `functions` on `frames`.

    Attributes:
        edges_of_metabolite: for each metabolite, its edges.
    """

    def __init__(self, functions: Functions, frames: Frames) -> None:
        self.functions, self.frames = functions, frames
        self.graph = functions.graph
        self.metabolite, self.reaction = functions.metabolite, functions.reaction
        rows = [np.flatnonzero(self.graph.edge_metabolite == i) for i in range(self.graph.n_metabolites)]
        self.edges_of_metabolite = [torch.as_tensor(edges, device=self.metabolite.device) for edges in rows]

    @property
    def n_residuals(self) -> int:
        return self.frames.dcdt.numel()

    def matrix(self, linear: Tensor) -> Tensor:
        """(M, R) B, rows divided by the scale of their residuals."""
        dense = linear.new_zeros(self.graph.n_metabolites, self.graph.n_reactions)
        dense[self.metabolite, self.reaction] = linear
        return dense / self.frames.scale[:, None]

    def column_sums(self, state: State) -> Tensor:
        """(R,) column sums of B relative to k."""
        return state.linear.new_zeros(self.graph.n_reactions).index_add_(0, self.reaction, state.linear) / 10**state.log_k

    def cost(self, state: State) -> tuple[float, float]:
        """(objective, mean squared residual)."""
        matrix = self.matrix(state.linear)
        windows = max(1, _FRAMES_AT_ONCE // self.frames.concentration.shape[1])
        square = sum(((matrix @ self.functions.rates(state, part)).T - part.dcdt).square().sum() for part in self.frames.chunks(windows))
        residual = float(square / self.n_residuals)
        return residual + MASS * float(self.column_sums(state).square().mean()), residual

    def jacobians(self, state: State) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """By chunks of windows: rates (R, windows), residuals (M, windows), their derivatives (M, windows, P), dF/dq (S, windows)."""
        matrix = self.matrix(state.linear)
        for part in self.frames.chunks(_CHUNK):
            rate = self.functions.rates(state, part)
            on_weights, on_order = self.functions.derivatives(state, part.centre)
            jacobian = (matrix @ on_weights.flatten(1)).reshape(self.graph.n_metabolites, len(part), -1)
            yield rate, matrix @ rate - part.dcdt.T, jacobian, on_order

    def normal(self, state: State) -> Normal:
        """J'J and J'r at `state`."""
        n_weights, n_edges, n_substrates = len(state.weights), self.graph.n_edges, len(self.functions.substrates)
        weights, linear, order = slice(0, n_weights), slice(n_weights, n_weights + n_edges), slice(n_weights + n_edges, None)
        size = n_weights + n_edges + n_substrates
        normal, right = state.weights.new_zeros(size, size), state.weights.new_zeros(size)
        matrix = self.matrix(state.linear)
        reaction_of_order = self.reaction[self.functions.substrates]

        rate_rate = state.weights.new_zeros(self.graph.n_reactions, self.graph.n_reactions)
        order_rate = state.weights.new_zeros(n_substrates, self.graph.n_reactions)
        order_order = state.weights.new_zeros(n_substrates, n_substrates)
        for rate, residual, jacobian, on_order in self.jacobians(state):
            rows = jacobian.flatten(0, 1)
            normal[weights, weights].addmm_(rows.T, rows)
            right[weights] += rows.T @ residual.flatten()
            right[order] += (on_order * (matrix.T @ residual)[reaction_of_order]).sum(1)
            for metabolite, edges in enumerate(self.edges_of_metabolite):
                own = rate[self.reaction[edges]] / self.frames.scale[metabolite]
                normal[n_weights + edges, weights] += own @ jacobian[metabolite]
                right[n_weights + edges] += own @ residual[metabolite]
                touched = torch.nonzero(matrix[metabolite, reaction_of_order])[:, 0]
                effect = matrix[metabolite, reaction_of_order[touched]][:, None] * on_order[touched]
                normal[n_weights + n_edges + touched, weights] += effect @ jacobian[metabolite]
            rate_rate += rate @ rate.T
            order_rate += on_order @ rate.T
            order_order += on_order @ on_order.T

        per_scale = 1 / self.frames.scale[self.metabolite]
        same_row = self.metabolite[:, None] == self.metabolite
        normal[linear, linear] = torch.where(same_row, rate_rate[self.reaction[:, None], self.reaction] * per_scale[:, None] * per_scale, 0.0)
        normal[order, linear] = matrix[self.metabolite][:, reaction_of_order].T * order_rate[:, self.reaction] * per_scale
        normal[order, order] = (matrix.T @ matrix)[reaction_of_order[:, None], reaction_of_order] * order_order
        normal[weights, linear], normal[weights, order] = normal[linear, weights].T, normal[order, weights].T
        normal[linear, order] = normal[order, linear].T
        return Normal(normal / self.n_residuals, right / self.n_residuals)

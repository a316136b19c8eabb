"""Refinement of a trained network by Gauss-Newton steps in double precision.

Gradient descent leaves the weak reactions unresolved. Here the model is split into a linear and a discrete part,

    dc_i/dt = sum_j B_ij F_j(c, |p_j|)      F_j = softplus(rate_func(sum over substrates e of substrate_func([c, |p_e|])))

with free real B = S k, and integer columns p inside the functions. A round does three things:

    decode    p_j from the direction of B's column j
    fit       Levenberg-Marquardt steps on the weights of the two MLPs and B, p fixed
    rescale   columns of one direction, such as (-1, 1) and (-2, 2), differ only through |p| in F_j: each is tried, and
              taken if a Gauss-Newton step on everything else would then leave a smaller residual (a score test)

The truth has residual zero, so errors shrink together: a right length lowers the residual, which sharpens directions.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from stoirec.graph import Graph
from stoirec.network import balanced_coefficients

LARGEST = 2  # coefficients are 1 or 2 in size
_CHUNK = 50  # frames per block of the Jacobian: bounds memory
_MASS = 1e-2  # weight of the relative column sums, against the mean squared residual
_FLOOR = 1e-4  # least curvature the damping acts on: saturated units have next to none
_LEAST_GAIN = 1.01  # a step that gains less ends the round
DONE = 1e-13  # mean squared residual at which nothing is left to learn
_DAMPING = 1e-6  # of the Gauss-Newton step in a score test
_SCALE_PRIOR = 1e-3  # as in decode: how much a scale off 1 counts against a smaller angle


@dataclass(frozen=True)
class State:
    """What refinement works on, all in double precision.

    Attributes:
        weights: (P,) weights of substrate_func, then of rate_func.
        linear: (E,) B, the coefficient of each edge times its reaction's rate constant.
        pattern: (E,) integer coefficients inside the functions.
        log_k: (R,) log10 rate constants of the integer columns.
        cost: mean squared residual, each metabolite divided by its std of dc/dt; inf before the first round.
    """

    weights: Tensor
    linear: Tensor
    pattern: Tensor
    log_k: Tensor
    cost: float = math.inf


class Refinement:
    """Rounds of refinement on fixed frames.

    Args:
        graph: candidate edges.
        sign: (E,) -1 or +1, the sign every edge's coefficient is held to.
        substrate_func, rate_func: the trained MLPs.
        concentration, dcdt: (frames, M) double; the frames to fit.
        scale: (M,) residuals are divided by it.
    """

    def __init__(
        self, graph: Graph, sign: np.ndarray, substrate_func: nn.Sequential, rate_func: nn.Sequential, concentration: Tensor, dcdt: Tensor, scale: Tensor
    ) -> None:
        self.graph, self.scale, self.device = graph, scale, concentration.device
        self.functions = nn.ModuleDict({"substrate": substrate_func, "rate": rate_func}).double()
        self.names = {name: parameter.shape for name, parameter in self.functions.named_parameters()}
        self.dcdt = dcdt / scale
        self.metabolite, self.reaction = self._index(graph.edge_metabolite), self._index(graph.edge_reaction)
        self.edges_of_metabolite = [self._index(np.flatnonzero(graph.edge_metabolite == i)) for i in range(graph.n_metabolites)]

        # substrate edges of every reaction, padded to the same number; `slot` -1 is padding
        per_reaction = [np.flatnonzero(graph.edge_is_substrate[graph.edges_of(j)]) + graph.edges_of(j).start for j in range(graph.n_reactions)]
        width = max(map(len, per_reaction))
        self.slot = self._index([[*edges, *[-1] * (width - len(edges))] for edges in per_reaction])
        self.concentration = concentration
        self.candidates = [self._columns(sign[graph.edges_of(j)]) for j in range(graph.n_reactions)]

    def _index(self, values) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.int64, device=self.device)

    def _columns(self, sign: np.ndarray) -> Tensor:
        """(candidates, n) zero-sum columns of the given signs."""
        minus, plus = np.flatnonzero(sign < 0), np.flatnonzero(sign > 0)
        found = np.array(balanced_coefficients(len(minus), len(plus), LARGEST), float).reshape(-1, len(sign))
        columns = np.empty_like(found)
        columns[:, np.concatenate([minus, plus])] = found
        return torch.as_tensor(columns, device=self.device)

    # --- the functions --------------------------------------------------------------------------------------------

    def _weights(self, flat: Tensor) -> dict[str, dict[str, Tensor]]:
        """Weights by function and parameter name."""
        own: dict[str, dict[str, Tensor]] = {"substrate": {}, "rate": {}}
        for (name, shape), piece in zip(self.names.items(), flat.split([shape.numel() for shape in self.names.values()])):
            function, _, parameter = name.partition(".")
            own[function][parameter] = piece.reshape(shape)
        return own

    def _features(self, concentration: Tensor, pattern: Tensor) -> tuple[Tensor, Tensor]:
        """(reactions, frames, substrates, 2) inputs of substrate_func and (reactions, substrates) 0/1 presence."""
        c = concentration[:, self.metabolite[self.slot]].permute(1, 0, 2)
        order = pattern[self.slot].abs()[:, None].expand_as(c)
        return torch.stack([c, order], dim=-1), (self.slot >= 0).double()

    def _rates(self, weights: Tensor, features: Tensor, present: Tensor) -> Tensor:
        """F for features (..., substrates, 2) and presence (..., substrates): (...)."""
        own = self._weights(weights)
        message = functional_call(self.functions["substrate"], own["substrate"], (features,))
        return nn.functional.softplus(functional_call(self.functions["rate"], own["rate"], ((present[..., None] * message).sum(-2),))[..., 0])

    def rates(self, weights: Tensor, pattern: Tensor, concentration: Tensor) -> Tensor:
        """(reactions, frames) F of all reactions."""
        features, present = self._features(concentration, pattern)
        with torch.no_grad():
            return self._rates(weights, features, present[:, None])

    def _rates_of(self, reaction: int, weights: Tensor, columns: Tensor) -> Tensor:
        """(candidates, frames) F of one reaction under each of its candidate `columns` (candidates, n)."""
        substrates = self.slot[reaction][self.slot[reaction] >= 0]
        order = columns[:, substrates - self.graph.edges_of(reaction).start].abs()[:, None].expand(-1, len(self.concentration), -1)
        c = self.concentration[:, self.metabolite[substrates]].expand_as(order)
        with torch.no_grad():
            return self._rates(weights, torch.stack([c, order], dim=-1), torch.ones_like(c))

    def _rate_gradients(self, weights: Tensor, pattern: Tensor, concentration: Tensor) -> Tensor:
        """(reactions, frames, P) dF/dweights."""
        features, present = self._features(concentration, pattern)
        by_frame = vmap(grad(self._rates), in_dims=(None, 0, None))
        return vmap(by_frame, in_dims=(None, 0, 0))(weights, features, present)

    # --- Levenberg-Marquardt -----------------------------------------------------------------------------------------

    def _matrix(self, linear: Tensor) -> Tensor:
        """(M, R) B, rows divided by the scale of their residuals."""
        dense = linear.new_zeros(self.graph.n_metabolites, self.graph.n_reactions)
        dense[self.metabolite, self.reaction] = linear
        return dense / self.scale[:, None]

    def _column_sums(self, linear: Tensor, log_k: Tensor) -> Tensor:
        """(R,) column sums of B relative to k: zero by mass balance."""
        return linear.new_zeros(self.graph.n_reactions).index_add_(0, self.reaction, linear) / 10**log_k

    def _cost(self, state: State) -> tuple[float, float]:
        """(objective, mean squared residual)."""
        matrix = self._matrix(state.linear)
        square = sum(
            ((matrix @ self.rates(state.weights, state.pattern, c)).T - y).square().sum() for c, y in zip(self.concentration.split(4 * _CHUNK), self.dcdt.split(4 * _CHUNK))
        )
        residual = float(square / self.dcdt.numel())
        return residual + _MASS * float(self._column_sums(state.linear, state.log_k).square().mean()), residual

    def _jacobians(self, state: State) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """By chunks of frames: rates (R, frames), residuals (M, frames), their derivatives (M, frames, P)."""
        matrix = self._matrix(state.linear)
        for c, y in zip(self.concentration.split(_CHUNK), self.dcdt.split(_CHUNK)):
            rate = self.rates(state.weights, state.pattern, c)
            gradients = self._rate_gradients(state.weights, state.pattern, c)
            jacobian = (matrix @ gradients.flatten(1)).reshape(self.graph.n_metabolites, len(c), -1)
            yield rate, matrix @ rate - y.T, jacobian

    def _normal_equations(self, state: State) -> tuple[Tensor, Tensor]:
        """J'J and J'r over (weights, linear), mass term included, divided by the number of residuals."""
        n_weights, n_edges = len(state.weights), self.graph.n_edges
        normal = state.weights.new_zeros(n_weights + n_edges, n_weights + n_edges)
        right = state.weights.new_zeros(n_weights + n_edges)
        gram = state.weights.new_zeros(self.graph.n_reactions, self.graph.n_reactions)
        for rate, residual, jacobian in self._jacobians(state):
            rows = jacobian.flatten(0, 1)
            normal[:n_weights, :n_weights].addmm_(rows.T, rows)
            right[:n_weights] += rows.T @ residual.flatten()
            for metabolite, edges in enumerate(self.edges_of_metabolite):
                own = rate[self.reaction[edges]] / self.scale[metabolite]
                normal[n_weights + edges, :n_weights] += own @ jacobian[metabolite]
                right[n_weights + edges] += own @ residual[metabolite]
            gram += rate @ rate.T
        per_scale = 1 / self.scale[self.metabolite]
        same_row = self.metabolite[:, None] == self.metabolite
        normal[n_weights:, n_weights:] = torch.where(same_row, gram[self.reaction[:, None], self.reaction] * per_scale[:, None] * per_scale, 0.0)
        normal[:n_weights, n_weights:] = normal[n_weights:, :n_weights].T
        normal, right = normal / self.dcdt.numel(), right / self.dcdt.numel()

        weight = _MASS / self.graph.n_reactions
        per_k = 10.0 ** -state.log_k[self.reaction]
        same_column = self.reaction[:, None] == self.reaction
        normal[n_weights:, n_weights:] += torch.where(same_column, weight * per_k[:, None] * per_k, 0.0)
        right[n_weights:] += weight * per_k * self._column_sums(state.linear, state.log_k)[self.reaction]
        return normal, right

    def fit(self, state: State, iterations: int) -> State:
        """Levenberg-Marquardt steps on the weights and B, the pattern fixed."""
        objective, cost = self._cost(state)
        state, damping = replace(state, cost=cost), 1e-3
        for _ in range(iterations):
            normal, right = self._normal_equations(state)
            for _ in range(8):
                trial = self._step(state, normal, right, damping)
                if trial is not None:
                    trial_objective, cost = self._cost(trial)
                    if trial_objective < objective:
                        break
                damping *= 6
            else:
                break
            gain = objective / trial_objective
            state, objective = replace(trial, cost=cost), trial_objective
            damping /= 10 if gain > 1.3 else 4
            if gain < _LEAST_GAIN or cost < DONE:
                break
        return state

    def _step(self, state: State, normal: Tensor, right: Tensor, damping: float) -> State | None:
        """The damped Gauss-Newton step from `state`, or None if the system cannot be solved at this damping."""
        factor, failed = torch.linalg.cholesky_ex(_damped(normal, damping))
        if failed:
            return None
        step = torch.cholesky_solve(right[:, None], factor)[:, 0]
        return replace(state, weights=state.weights - step[: len(state.weights)], linear=state.linear - step[len(state.weights) :])

    # --- the integer columns ------------------------------------------------------------------------------------------

    def decode(self, state: State) -> State:
        """Give every reaction the column whose direction is nearest that of B; of one direction, keep the length it has."""
        pattern, log_k = state.pattern.clone(), state.log_k.clone()
        for reaction, columns in enumerate(self.candidates):
            if not len(columns):  # no zero-sum column has these signs
                continue
            edges = self.graph.edges_of(reaction)
            linear = state.linear[edges]
            scale = (columns @ linear / columns.square().sum(1)).clamp(min=1e-12)
            sine = (linear - scale[:, None] * columns).square().sum(1) / linear.square().sum()
            best = int((sine + _SCALE_PRIOR * (scale.log() - log_k[reaction] * math.log(10)).square()).argmin())
            same = [int(i) for i in self._same_direction(columns, columns[best]) if torch.equal(columns[i], pattern[edges])]
            best = same[0] if same else best
            pattern[edges], log_k[reaction] = columns[best], torch.log10(scale[best])
        return replace(state, pattern=pattern, log_k=log_k)

    @staticmethod
    def _same_direction(columns: Tensor, column: Tensor) -> Tensor:
        """Positions of the columns that are multiples of `column`."""
        cosine = columns @ column / (columns.norm(dim=1) * column.norm())
        return torch.nonzero(cosine > 1 - 1e-9)[:, 0]

    def rescale(self, state: State) -> State:
        """Score tests: take the length of a column under which a Gauss-Newton step would leave the smallest residual."""
        chunks = list(self._jacobians(state))
        rate, residual, jacobian = (torch.cat([chunk[part] for chunk in chunks], dim=1) for part in range(3))
        normal, right = self._normal_equations(state)
        normal, right = normal * self.dcdt.numel(), right * self.dcdt.numel()
        factor, failed = torch.linalg.cholesky_ex(_damped(normal, _DAMPING, self.dcdt.numel()))
        if failed:
            return state

        def left(square: Tensor, gradient: Tensor) -> float:
            """Squared residual left after the step."""
            return float(square - gradient @ torch.cholesky_solve(gradient[:, None], factor)[:, 0])

        total = residual.square().sum()
        now = left(total, right)
        pattern, linear, log_k = state.pattern.clone(), state.linear.clone(), state.log_k.clone()
        n_weights = len(state.weights)
        for reaction, columns in enumerate(self.candidates):
            edges = self.graph.edges_of(reaction)
            own, metabolites = state.pattern[edges], self.metabolite[edges]
            smallest = now
            for column in columns[self._same_direction(columns, own)] if len(columns) else ():
                if torch.equal(column, own):
                    continue
                other = self._rates_of(reaction, state.weights, column[None])[0]
                factor_k = (rate[reaction] @ other) / (other @ other)  # what k must be multiplied by
                change = (state.linear[edges] / self.scale[metabolites])[:, None] * (factor_k * other - rate[reaction])
                gradient = right.clone()
                gradient[:n_weights] += torch.einsum("ifp,if->p", jacobian[metabolites], change)
                for metabolite, row in zip(metabolites, change):
                    touching = self.edges_of_metabolite[int(metabolite)]
                    gradient[n_weights + touching] += rate[self.reaction[touching]] @ row / self.scale[metabolite]
                square = total - residual[metabolites].square().sum() + (residual[metabolites] + change).square().sum()
                then = left(square, gradient)
                if then < smallest:
                    smallest = then
                    pattern[edges], linear[edges] = column, factor_k * state.linear[edges]
                    length = (column / own)[0]
                    log_k[reaction] = state.log_k[reaction] + torch.log10(factor_k / length)
        return replace(state, pattern=pattern, linear=linear, log_k=log_k)

    def round(self, state: State, iterations: int) -> State:
        """Decode, fit, rescale; the columns returned are those of the fit's directions."""
        return self.decode(self.rescale(self.fit(self.decode(state), iterations)))

    # --- what comes out -------------------------------------------------------------------------------------------------

    def coefficient(self, state: State) -> Tensor:
        """(E,) real coefficients B / k."""
        return state.linear / 10 ** state.log_k[self.reaction]

    def coefficient_se(self, state: State) -> Tensor:
        """(E,) standard errors of the coefficients; the weights' uncertainty is in them."""
        normal, _ = self._normal_equations(state)
        factor, failed = torch.linalg.cholesky_ex(_damped(normal, _DAMPING))
        if failed:
            return torch.full_like(state.linear, math.inf)
        variance = torch.cholesky_inverse(factor).diagonal()[len(state.weights) :] * state.cost / self.dcdt.numel()
        return variance.sqrt() / 10 ** state.log_k[self.reaction]


def _damped(normal: Tensor, damping: float, n_residuals: int = 1) -> Tensor:
    """J'J with Marquardt's damping; `n_residuals`: what J'J was multiplied by."""
    return normal + torch.diag(damping * normal.diagonal().clamp(min=_FLOOR * n_residuals))

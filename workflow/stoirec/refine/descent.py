"""Levenberg-Marquardt: damped Gauss-Newton steps in the free parameters of a state."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from stoirec.refine.equations import MASS, Equations
from stoirec.refine.functions import Functions
from stoirec.refine.jacobian import Slopes
from stoirec.refine.state import DAMPING, State

_EXACT = 1e-13  # mean squared residual at which nothing is left to learn
HARDLY_LESS = 0.5  # of the mean squared residual: steps that leave more gained little
SCORE_DAMPING = 1e-6  # where J'J is inverted to test or to say how sure, not to step
_LEAST_DAMPING = 1e-12  # that is passed on: from less, ten tries do not lead back where a problem is singular
_FLOOR = 1e-3  # least curvature the damping acts on: saturated units have next to none
_LEAST_GAIN = 1.01  # a step that gains less is idle
_PATIENCE = 3  # idle steps in a row that end the descent
_LONGEST = 0.4  # largest change of a log10 rate constant in one step
_RESOLVED = 4  # solutions of a step with bounds, at most; what still leaves them then, little, is cut off
_LN10 = math.log(10)


@dataclass(frozen=True)
class FreeEquations:
    """J'J and J'r, half the gradient, of the whole objective over those of (weights, B, log_k) that move by themselves.

    Attributes:
        moves: (P + E + R,) bool, which n do.
        matrix: (n, n); gradient: (n,).
    """

    moves: Tensor
    matrix: Tensor
    gradient: Tensor

    def on_all(self, values: Tensor) -> Tensor:
        """(P + E + R,) of `values` (n,); 0 of what does not move by itself."""
        return values.new_zeros(len(self.moves)).masked_scatter_(self.moves, values)

    def only(self, some: Tensor) -> "FreeEquations":
        """Those of `some` (P + E + R,) bool alone."""
        kept = torch.nonzero(some[self.moves])[:, 0]
        if len(kept) == len(self.gradient):
            return self
        return FreeEquations(self.moves & some, self.matrix[kept][:, kept], self.gradient[kept])


def free_equations(equations: Equations, state: State, opposite: bool = True) -> FreeEquations:
    """The equations at a state.

    While there are no integers in the functions, q moves with B / k. Edges held at zero, or to their column, do not
    move by themselves; nor do those of backward reactions, which move with the forward ones, if `opposite`.
    """
    functions, n_weights, n_edges = equations.functions, len(state.weights), len(state.linear)
    moves, by_moves = unknowns(functions, state, opposite)
    normal = equations.normal(state, Slopes.of(by_moves(through_sizes(functions, state)), functions))
    own, gradient = normal.matrix[n_weights:, n_weights:], normal.gradient[n_weights:]
    for amounts, sums in zip(equations.amounts(state), equations.column_sums(state)):
        on_sums, weight = by_moves(_on_sums(functions, state, amounts, sums)), MASS / len(sums)
        square = (on_sums.T @ on_sums).tocoo()
        parts = np.stack(square.coords), square.data
        place, values = (torch.as_tensor(part, device=gradient.device) for part in parts)
        own[place[0], place[1]] += weight * values
        gradient += weight * torch.as_tensor(on_sums.T @ sums.cpu().numpy(), device=gradient.device)
    found = FreeEquations(moves, normal.matrix, normal.gradient)
    leaving = _leaving(functions, state, found.on_all(normal.gradient)[n_weights : n_weights + n_edges])
    return found.only(torch.cat([~leaving.new_zeros(n_weights), ~leaving, ~leaving.new_zeros(len(state.log_k))]))


def unknowns(
    functions: Functions, state: State, opposite: bool = True
) -> tuple[Tensor, Callable[[csr_array], csr_array]]:
    """(P + E + R,) bool, which of (weights, B, log_k) move by themselves, as of `free_equations`.

    And what makes of (..., E + R) derivatives by B and log_k those by what moves by itself.
    """
    turned = _turning(functions, state) if opposite else torch.zeros_like(functions.backward, dtype=torch.bool)
    held = _held(functions, state)
    held[functions.backward[turned]] = True
    moves = torch.cat([held.new_ones(len(state.weights)), ~held, held.new_ones(len(state.log_k))])
    kept, by = moves[len(state.weights) :].cpu().numpy(), _moved_by(functions, state, turned)

    def by_moves(slopes: csr_array) -> csr_array:
        return functools.reduce(lambda found, step: found + found @ step, by, slopes)[:, kept]

    return moves, by_moves


def through_sizes(functions: Functions, state: State) -> csr_array:
    """(E + S, E + R) derivatives of B and of q, what stands for |S| in the functions, by B and log_k."""
    n_edges, substrates = len(state.linear), functions.substrates
    edge = torch.arange(n_edges, device=state.linear.device)
    row = n_edges + torch.arange(len(substrates), device=edge.device)
    per_k = functions.signs(state) / 10 ** state.log_k[functions.reaction]
    slope = (functions.size_slope(state) * per_k)[substrates]  # dq/dB
    if state.tied is not None:  # B / k stays as it is
        slope = torch.where(state.tied[functions.reaction[substrates]], 0.0, slope)
    on_log_k = -_LN10 * slope * state.linear[substrates]
    parts = [
        (edge, edge, torch.ones_like(state.linear)),
        (row, substrates, slope),
        (row, n_edges + functions.reaction[substrates], on_log_k),
    ]
    return _sparse(parts, (n_edges + len(substrates), n_edges + len(state.log_k)))


def _moved_by(functions: Functions, state: State, turned: Tensor) -> list[csr_array]:
    """(E + R, E + R) matrices: what B and log_k add to their own changes, the later ones to what moves the former.

    B of tied reactions moves along itself with log_k. B of the backward edges that are `turned` (n,) moves with that of
    the forward ones, as -B k_b / k_f.
    """
    n_edges, reaction = len(state.linear), functions.reaction
    shape, log_k, moves = (n_edges + len(state.log_k),) * 2, n_edges + reaction, []
    if state.tied is not None:
        own = torch.nonzero(state.tied[reaction])[:, 0]
        moves.append(_sparse([(own, log_k[own], _LN10 * state.linear[own])], shape))
    backward, forward = functions.backward[turned], functions.forward[turned]
    if len(backward):
        ratio = -(10 ** (state.log_k[reaction[backward]] - state.log_k[reaction[forward]]))
        by_log_k = _LN10 * state.linear[backward]
        parts = [(backward, forward, ratio), (backward, log_k[backward], by_log_k)]
        moves.append(_sparse([*parts, (backward, log_k[forward], -by_log_k)], shape))
    return moves


def _on_sums(functions: Functions, state: State, amounts: Tensor, sums: Tensor) -> csr_array:
    """(R, E + R) derivatives of the relative column sums (R,) of what is conserved, `amounts` (E,), by B and log_k."""
    n_edges, reactions = len(state.linear), torch.arange(len(sums), device=sums.device)
    per_k = 1 / 10 ** state.log_k[functions.reaction]
    edge = torch.arange(n_edges, device=sums.device)
    parts = [(functions.reaction, edge, amounts * per_k), (reactions, n_edges + reactions, -_LN10 * sums)]
    return _sparse(parts, (len(sums), n_edges + len(sums)))


def _turning(functions: Functions, state: State) -> Tensor:
    """(n,) bool, of `functions.backward`, those whose reaction is not tied: their column is that of the forward one."""
    if state.tied is None:
        return torch.ones_like(functions.backward, dtype=torch.bool)
    return ~state.tied[functions.reaction[functions.backward]]


def _held(functions: Functions, state: State) -> Tensor:
    """(E,) bool: edges that do not move by themselves.

    Their column says 0, as that of a catalyst does, they are closed, or they move along their tied column.
    """
    held = functions.catalyses.clone()
    if state.integers is not None:
        held |= state.integers == 0
    if state.closed is not None:
        held |= state.closed
    return held if state.tied is None else held | state.tied[functions.reaction]


def _leaving(functions: Functions, state: State, gradient: Tensor) -> Tensor:
    """(E,) bool: edges at zero that a step would lead to the other sign, where a zero has a meaning."""
    if not functions.allows_zero:
        return torch.zeros_like(gradient, dtype=torch.bool)
    return (state.linear == 0) & (functions.sign != 0) & (functions.sign * gradient >= 0)


def descend(equations: Equations, state: State, steps: int) -> State:
    """At most `steps` Levenberg-Marquardt steps; the state then knows whether they became slow.

    Stops at a residual of 1e-13, or after three steps in a row that gain less than 1 %.

    The damping follows the ratio of actual to predicted gain (Nielsen 1999, IMM-REP-1999-05), from where the descent
    before left it: each would else take steps to find it again.
    """
    state = _moved(
        equations,
        state,
        torch.zeros(len(state.weights) + len(state.linear), dtype=torch.float64, device=state.linear.device),
    )
    equations = equations.followed(state)
    objective, cost = equations.cost(state)
    state, damping, growth, idle, costs = replace(state, cost=cost), state.damping, 2.0, 0, [cost]
    for _ in range(steps):
        free = free_equations(equations, state)
        for _ in range(10):
            step = _step(equations.functions, state, free, damping)
            if step is not None:
                trial = _moved(equations, state, free.on_all(step))
                followed = equations.followed(trial)
                trial_objective, cost = followed.cost(trial)
                if trial_objective < objective:
                    break
            damping, growth = damping * growth, growth * 2
        else:
            damping = DAMPING
            break
        predicted = float(step @ (2 * free.gradient - free.matrix @ step))
        ratio = (objective - trial_objective) / predicted
        damping, growth = damping * max(1 / 5, 1 - (2 * ratio - 1) ** 3), 2.0
        idle = idle + 1 if objective < _LEAST_GAIN * trial_objective else 0
        state, equations, objective = replace(trial, cost=cost), followed, trial_objective
        costs.append(cost)
        if idle == _PATIENCE or cost < _EXACT:
            break
    slow = costs[-1] > HARDLY_LESS * costs[len(costs) // 2]
    return replace(state, slow=slow, damping=min(max(damping, _LEAST_DAMPING), DAMPING))


def damped(matrix: Tensor, damping: float) -> Tensor:
    """J'J with Marquardt's damping."""
    return damp(matrix.clone(), damping)


def damp(matrix: Tensor, damping: float) -> Tensor:
    """The same in place."""
    matrix.diagonal().add_(damping * matrix.diagonal().clamp(min=_FLOOR))
    return matrix


def _step(functions: Functions, state: State, free: FreeEquations, damping: float) -> Tensor | None:
    """The (n,) damped Gauss-Newton step, to be subtracted; None if the system cannot be solved at this damping.

    Where a zero has a meaning, the step keeps B to the signs that are known: edges that would leave them go to zero,
    and the others are solved for again, with no edge taken back. Cutting such edges off afterwards spoils the step.
    """
    matrix, gradient = damped(free.matrix, damping), free.gradient
    sign, to_zero = (
        torch.cat([torch.zeros_like(state.weights), of_edges, torch.zeros_like(state.log_k)])[free.moves]
        for of_edges in (functions.sign, state.linear)
    )
    at_zero = torch.zeros_like(gradient, dtype=torch.bool)
    for _ in range(_RESOLVED if functions.allows_zero else 1):
        others = torch.nonzero(~at_zero)[:, 0]
        part = matrix[others][:, others] if at_zero.any() else matrix
        factor, failed = torch.linalg.cholesky_ex(part)
        if failed:
            return None
        step = torch.where(at_zero, to_zero, 0.0)
        step[others] = torch.cholesky_solve((gradient - matrix @ step)[others, None], factor)[:, 0]
        leaving = sign * (to_zero - step) < 0
        if not (leaving & ~at_zero).any():
            break
        at_zero |= leaving
    return step


def _moved(equations: Equations, state: State, step: Tensor) -> State:
    """`state` less `step`; where a zero has a meaning, B is kept to the signs that are known.

    Backward reactions that are not tied have the column of the forward ones.
    """
    on_weights, on_linear, on_log_k = step.tensor_split([len(state.weights), len(state.weights) + len(state.linear)])
    log_k = state.log_k - on_log_k.clamp(-_LONGEST, _LONGEST) if len(on_log_k) else state.log_k
    linear = state.linear - on_linear
    if state.tied is not None:
        factor = torch.where(state.tied, 10 ** (log_k - state.log_k), 1.0)
        linear = linear * factor[equations.reaction]
    if equations.functions.allows_zero:
        sign = equations.functions.sign
        linear = torch.where(sign == 0, linear, sign * (sign * linear).clamp(min=0))
    turning = _turning(equations.functions, state)
    backward, forward = equations.functions.backward[turning], equations.functions.forward[turning]
    if len(backward):
        ratio = 10 ** (log_k[equations.reaction[backward]] - log_k[equations.reaction[forward]])
        linear = linear.index_copy(0, backward, -ratio * linear[forward])
    concentration = equations.windows.concentration.flatten(0, 1)
    weights = equations.functions.law.within(state.weights - on_weights, concentration)
    return replace(state, weights=weights, linear=linear, log_k=log_k)


def _sparse(parts: list[tuple[Tensor, Tensor, Tensor]], shape: tuple[int, int]) -> csr_array:
    """A sparse matrix from (rows, columns, values)."""
    rows, columns, values = (torch.cat(piece).cpu().numpy() for piece in zip(*parts))
    return csr_array((values, (rows, columns)), shape)

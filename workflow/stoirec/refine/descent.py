"""Levenberg-Marquardt: damped Gauss-Newton steps in the free parameters of a state."""

import functools
import math
from dataclasses import replace

import torch
from torch import Tensor

from stoirec.refine.equations import MASS, Equations
from stoirec.refine.functions import Functions
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


def free_equations(equations: Equations, state: State, opposite: bool = True) -> tuple[Tensor, Tensor]:
    """J'J and J'r of the whole objective over the free parameters (weights, B, log_k).

    While there are no integers in the functions, q moves with B / k. Edges held at zero, or to their column, have the
    identity in J'J and 0 in J'r, half the gradient; so have those of backward reactions, which move with the forward
    ones, if `opposite`.
    """
    functions = equations.functions
    normal, n_weights, n_edges = equations.normal(state), len(state.weights), len(state.linear)
    n_free = n_weights + n_edges + len(state.log_k)
    turned = _turning(functions, state) if opposite else torch.zeros_like(functions.backward, dtype=torch.bool)
    sizes, moves = _through_sizes(functions, state), _moved_by(functions, state, turned)
    weights, others = slice(0, n_weights), slice(n_weights, None)

    def by_moves(values: Tensor) -> Tensor:
        """(E + R, ...) of derivatives (E + R, ...) by B and log_k: those by what moves."""
        return functools.reduce(lambda found, step: found + step.T @ found, moves, values)

    def by_all(values: Tensor) -> Tensor:
        """The same of derivatives (E + S, ...) by B and q."""
        return by_moves(sizes.T @ values)

    matrix = normal.matrix.new_zeros(n_free, n_free)
    gradient = torch.cat([normal.gradient[weights], by_all(normal.gradient[others])])
    matrix[weights, weights] = normal.matrix[weights, weights]
    matrix[others, weights] = by_all(normal.matrix[others, weights])
    matrix[weights, others] = matrix[others, weights].T
    matrix[others, others] = by_all(by_all(normal.matrix[others, others]).T)
    for amounts, sums in zip(equations.amounts(state), equations.column_sums(state)):
        on_sums, weight = by_moves(_on_sums(functions, state, amounts, sums).T.to_dense()), MASS / len(sums)
        matrix[others, others] += weight * (on_sums.to_sparse() @ on_sums.T)
        gradient[others] += weight * (on_sums @ sums)
    held = _held(functions, state, gradient[n_weights : n_weights + n_edges])
    held[functions.backward[turned]] = True
    held = n_weights + torch.nonzero(held)[:, 0]
    matrix[held], matrix[:, held], gradient[held] = 0.0, 0.0, 0.0
    matrix[held, held] = 1.0
    return matrix, gradient


def _through_sizes(functions: Functions, state: State) -> Tensor:
    """(E + S, E + R) derivatives of B and of q, what stands for |S| in the functions, by B and log_k."""
    n_edges, substrates = len(state.linear), functions.substrates
    edge = torch.arange(n_edges, device=state.linear.device)
    row = n_edges + torch.arange(len(substrates), device=edge.device)
    per_k = functions.signs(state) / 10 ** state.log_k[functions.reaction]
    slope = (functions.size_slope(state) * per_k)[substrates]  # dq/dB
    on_log_k = -_LN10 * slope * state.linear[substrates]
    parts = [
        (edge, edge, torch.ones_like(state.linear)),
        (row, substrates, slope),
        (row, n_edges + functions.reaction[substrates], on_log_k),
    ]
    return _sparse(parts, (n_edges + len(substrates), n_edges + len(state.log_k)))


def _moved_by(functions: Functions, state: State, turned: Tensor) -> list[Tensor]:
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


def _on_sums(functions: Functions, state: State, amounts: Tensor, sums: Tensor) -> Tensor:
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


def _held(functions: Functions, state: State, gradient: Tensor) -> Tensor:
    """(E,) bool: edges that do not move on their own.

    Their column says 0, they are closed, they would leave their sign if it is known, or they move along their tied
    column.
    """
    held = torch.zeros_like(gradient, dtype=torch.bool)
    if functions.allows_zero:
        held |= (state.linear == 0) & (functions.sign != 0) & (functions.sign * gradient >= 0)
    if state.integers is not None:
        held |= state.integers == 0
    if state.closed is not None:
        held |= state.closed
    return held if state.tied is None else held | state.tied[functions.reaction]


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
        matrix, gradient = free_equations(equations, state)
        for _ in range(10):
            step = _step(equations.functions, state, matrix, gradient, damping)
            if step is not None:
                trial = _moved(equations, state, step)
                followed = equations.followed(trial)
                trial_objective, cost = followed.cost(trial)
                if trial_objective < objective:
                    break
            damping, growth = damping * growth, growth * 2
        else:
            damping = DAMPING
            break
        predicted = float(step @ (2 * gradient - matrix @ step))
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
    return matrix + torch.diag(damping * matrix.diagonal().clamp(min=_FLOOR))


def _step(functions: Functions, state: State, matrix: Tensor, gradient: Tensor, damping: float) -> Tensor | None:
    """The damped Gauss-Newton step, to be subtracted, or None if the system cannot be solved at this damping.

    Where a zero has a meaning, the step keeps B to the signs that are known: edges that would leave them go to zero,
    and the others are solved for again, with no edge taken back. Cutting such edges off afterwards spoils the step.
    """
    held = (gradient == 0) & (matrix.diagonal() == 1)  # as free_equations marks them: they need no solving
    matrix = damped(matrix, damping)
    linear = slice(len(state.weights), len(state.weights) + len(state.linear))
    bounded = functions.allows_zero
    at_zero = torch.zeros_like(held)
    to_zero = torch.zeros_like(gradient)
    to_zero[linear] = state.linear
    for _ in range(_RESOLVED if bounded else 1):
        free = torch.nonzero(~(held | at_zero))[:, 0]
        factor, failed = torch.linalg.cholesky_ex(matrix[free][:, free])
        if failed:
            return None
        step = torch.where(at_zero, to_zero, 0.0)
        step[free] = torch.cholesky_solve((gradient - matrix @ step)[free, None], factor)[:, 0]
        leaving = torch.zeros_like(at_zero)
        leaving[linear] = functions.sign * (state.linear - step[linear]) < 0
        if not bounded or not (leaving & ~at_zero).any():
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
    return replace(state, weights=state.weights - on_weights, linear=linear, log_k=log_k)


def _sparse(parts: list[tuple[Tensor, Tensor, Tensor]], shape: tuple[int, int]) -> Tensor:
    """A sparse matrix from (rows, columns, values)."""
    rows, columns, values = (torch.cat(piece) for piece in zip(*parts))
    return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False)

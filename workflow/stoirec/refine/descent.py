"""Levenberg-Marquardt: damped Gauss-Newton steps in the free parameters of a state."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from stoirec.refine.equations import MASS, Equations
from stoirec.refine.functions import Functions
from stoirec.refine.state import State

_EXACT = 1e-13  # mean squared residual at which nothing is left to learn
SCORE_DAMPING = 1e-6  # where J'J is inverted to test or to say how sure, not to step
_FLOOR = 1e-3  # least curvature the damping acts on: saturated units have next to none
_LEAST_GAIN = 1.01  # a step that gains less is idle
_PATIENCE = 3  # idle steps in a row that end the descent
_LONGEST = 0.4  # largest change of a log10 rate constant in one step
_RESOLVED = 4  # solutions of a step with bounds, at most; what still leaves them then, little, is cut off
_LN10 = math.log(10)


def free_equations(equations: Equations, state: State) -> tuple[Tensor, Tensor]:
    """J'J and J'r of the whole objective over the free parameters.

    They are (weights, B) with integer columns, (weights, B, log_k) without: then q moves with B / k.
    Edges held at zero have the identity in J'J and 0 in J'r.
    """
    normal = equations.normal(state)
    graph, functions = equations.graph, equations.functions
    n_weights, n_edges, n_reactions = len(state.weights), graph.n_edges, graph.n_reactions
    edge = torch.arange(n_edges, device=state.linear.device)
    k = 10**state.log_k
    relaxed = state.pattern is None
    n_free = n_weights + n_edges + (n_reactions if relaxed else 0)
    if relaxed:
        substrates, reaction = functions.substrates, functions.reaction[functions.substrates]
        row = n_edges + torch.arange(len(substrates), device=edge.device)
        slope = (functions.relaxed_order(state)[1] * functions.sign / k[functions.reaction])[substrates]  # dq/dB
        chain = _sparse(
            [
                (edge, edge, torch.ones_like(state.linear)),
                (row, substrates, slope),
                (row, n_edges + reaction, -_LN10 * slope * state.linear[substrates]),
            ],
            (n_edges + len(substrates), n_edges + n_reactions),
        )
        matrix, right = state.weights.new_zeros(n_free, n_free), state.weights.new_zeros(n_free)
        matrix[:n_weights, :n_weights], right[:n_weights] = (
            normal.matrix[:n_weights, :n_weights],
            normal.right[:n_weights],
        )
        matrix[n_weights:, :n_weights] = chain.T @ normal.matrix[n_weights:, :n_weights]
        matrix[:n_weights, n_weights:] = matrix[n_weights:, :n_weights].T
        matrix[n_weights:, n_weights:] = chain.T @ (chain.T @ normal.matrix[n_weights:, n_weights:]).T
        right[n_weights:] = chain.T @ normal.right[n_weights:]
    else:
        matrix, right = normal.matrix[:n_free, :n_free].clone(), normal.right[:n_free].clone()

    sums = equations.column_sums(state)
    parts = [(functions.reaction, n_weights + edge, 1 / k[functions.reaction])]
    if relaxed:
        reactions = torch.arange(n_reactions, device=edge.device)
        parts.append((reactions, n_weights + n_edges + reactions, -_LN10 * sums))
    on_sums = _sparse(parts, (n_reactions, n_free))
    weight = MASS / n_reactions
    matrix, right = matrix + weight * on_sums.T @ on_sums.to_dense(), right + weight * (on_sums.T @ sums)
    if relaxed and state.tied is not None:
        own = torch.nonzero(state.tied[functions.reaction])[:, 0]
        tie = _sparse(
            [(n_weights + n_edges + functions.reaction[own], n_weights + own, _LN10 * state.linear[own])],
            (n_free, n_free),
        )
        along = tie @ matrix
        matrix = matrix + along + along.T + tie @ along.T
        right = right + tie @ right
    held = n_weights + torch.nonzero(_held(functions, state, right[n_weights : n_weights + n_edges]))[:, 0]
    matrix[held], matrix[:, held], right[held] = 0.0, 0.0, 0.0
    matrix[held, held] = 1.0
    return matrix, right


def _held(functions: Functions, state: State, gradient: Tensor) -> Tensor:
    """(E,) bool: edges that stay at zero, because their column says so, they are closed, or they would leave their sign."""
    if state.pattern is not None:
        return state.pattern == 0
    if functions.gated:
        held = (state.linear == 0) & (functions.sign * gradient >= 0)
    else:
        held = torch.zeros_like(gradient, dtype=torch.bool)
    if state.closed is not None:
        held = held | state.closed
    return held if state.tied is None else held | state.tied[functions.reaction]


def descend(equations: Equations, state: State, steps: int) -> State:
    """At most `steps` Levenberg-Marquardt steps; stops at a residual of 1e-13, or after three in a row that gain less than 1 %.

    The damping follows the ratio of actual to predicted gain (Nielsen 1999, IMM-REP-1999-05).
    """
    state = _moved(
        equations,
        state,
        torch.zeros(len(state.weights) + len(state.linear), dtype=torch.float64, device=state.linear.device),
    )
    objective, cost = equations.cost(state)
    state, damping, growth, idle = replace(state, cost=cost), 1e-3, 2.0, 0
    for _ in range(steps):
        matrix, right = free_equations(equations, state)
        for _ in range(10):
            step = _step(equations.functions, state, matrix, right, damping)
            if step is not None:
                trial = _moved(equations, state, step)
                trial_objective, cost = equations.cost(trial)
                if trial_objective < objective:
                    break
            damping, growth = damping * growth, growth * 2
        else:
            break
        predicted = float(step @ (2 * right - matrix @ step))
        ratio = (objective - trial_objective) / predicted
        damping, growth = damping * max(1 / 5, 1 - (2 * ratio - 1) ** 3), 2.0
        idle = idle + 1 if objective < _LEAST_GAIN * trial_objective else 0
        state, objective = replace(trial, cost=cost), trial_objective
        if idle == _PATIENCE or cost < _EXACT:
            break
    return state


def damped(matrix: Tensor, damping: float) -> Tensor:
    """J'J with Marquardt's damping."""
    return matrix + torch.diag(damping * matrix.diagonal().clamp(min=_FLOOR))


def _step(functions: Functions, state: State, matrix: Tensor, right: Tensor, damping: float) -> Tensor | None:
    """The damped Gauss-Newton step, to be subtracted, or None if the system cannot be solved at this damping.

    Where a zero has a meaning, the step keeps B to its signs: edges that would leave them go to zero,
    and the others are solved for again, with no edge taken back. Cutting such edges off afterwards spoils the step.
    """
    held = (right == 0) & (matrix.diagonal() == 1)  # as free_equations marks them: they need no solving
    matrix = damped(matrix, damping)
    linear = slice(len(state.weights), len(state.weights) + len(state.linear))
    bounded = functions.gated
    at_zero = torch.zeros_like(held)
    to_zero = torch.zeros_like(right)
    to_zero[linear] = state.linear
    for _ in range(_RESOLVED if bounded else 1):
        free = torch.nonzero(~(held | at_zero))[:, 0]
        factor, failed = torch.linalg.cholesky_ex(matrix[free][:, free])
        if failed:
            return None
        step = torch.where(at_zero, to_zero, 0.0)
        step[free] = torch.cholesky_solve((right - matrix @ step)[free, None], factor)[:, 0]
        leaving = torch.zeros_like(at_zero)
        leaving[linear] = functions.sign * (state.linear - step[linear]) < 0
        if not bounded or not (leaving & ~at_zero).any():
            break
        at_zero |= leaving
    return step


def _moved(equations: Equations, state: State, step: Tensor) -> State:
    """`state` less `step`; where a zero has a meaning, B is kept to its signs."""
    on_weights, on_linear, on_log_k = step.tensor_split([len(state.weights), len(state.weights) + len(state.linear)])
    log_k = state.log_k - on_log_k.clamp(-_LONGEST, _LONGEST) if len(on_log_k) else state.log_k
    linear = state.linear - on_linear
    if state.tied is not None:
        factor = torch.where(state.tied, 10 ** (log_k - state.log_k), 1.0)
        linear = linear * factor[equations.reaction]
    if equations.functions.gated:
        linear = equations.functions.sign * (equations.functions.sign * linear).clamp(min=0)
    return replace(state, weights=state.weights - on_weights, linear=linear, log_k=log_k)


def _sparse(parts: list[tuple[Tensor, Tensor, Tensor]], shape: tuple[int, int]) -> Tensor:
    """A sparse matrix from (rows, columns, values)."""
    rows, columns, values = (torch.cat(piece) for piece in zip(*parts))
    return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False)

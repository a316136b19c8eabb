"""Levenberg-Marquardt: damped Gauss-Newton steps in the free parameters of a state."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from stoirec.refine.equations import MASS, Equations
from stoirec.refine.state import State

_FLOOR = 1e-4  # least curvature the damping acts on: saturated units have next to none
_LEAST_GAIN = 1.01  # a step that gains less ends the descent
_LONGEST = 0.4  # largest change of a log10 rate constant in one step
_LN10 = math.log(10)


def free_equations(equations: Equations, state: State) -> tuple[Tensor, Tensor]:
    """J'J and J'r of the whole objective over the free parameters.

    They are (weights, B) with integer columns, (weights, B, log_k) without: then q = |B| / k moves with B and k.
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
        chain = _sparse(
            [(edge, edge, torch.ones_like(state.linear)), (row, substrates, (state.linear.sign() / k[functions.reaction])[substrates]),
             (row, n_edges + reaction, -_LN10 * functions.order(state)[substrates])],
            (n_edges + len(substrates), n_edges + n_reactions),
        )  # fmt: skip
        matrix, right = state.weights.new_zeros(n_free, n_free), state.weights.new_zeros(n_free)
        matrix[:n_weights, :n_weights], right[:n_weights] = normal.matrix[:n_weights, :n_weights], normal.right[:n_weights]
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
    return matrix + weight * on_sums.T @ on_sums.to_dense(), right + weight * (on_sums.T @ sums)


def descend(equations: Equations, state: State, steps: int) -> State:
    """At most `steps` Levenberg-Marquardt steps; stops where a step gains less than 1 %."""
    objective, cost = equations.cost(state)
    state, damping = replace(state, cost=cost), 1e-3
    for _ in range(steps):
        matrix, right = free_equations(equations, state)
        for _ in range(8):
            trial = _step(state, matrix, right, damping)
            if trial is not None:
                trial_objective, cost = equations.cost(trial)
                if trial_objective < objective:
                    break
            damping *= 5
        else:
            break
        gain = objective / max(trial_objective, 1e-300)
        state, objective = replace(trial, cost=cost), trial_objective
        damping /= 10 if gain > 1.3 else 4
        if gain < _LEAST_GAIN:
            break
    return state


def damped(matrix: Tensor, damping: float) -> Tensor:
    """J'J with Marquardt's damping."""
    return matrix + torch.diag(damping * matrix.diagonal().clamp(min=_FLOOR))


def _step(state: State, matrix: Tensor, right: Tensor, damping: float) -> State | None:
    """The damped Gauss-Newton step from `state`, or None if the system cannot be solved at this damping."""
    factor, failed = torch.linalg.cholesky_ex(damped(matrix, damping))
    if failed:
        return None
    step = torch.cholesky_solve(right[:, None], factor)[:, 0]
    on_weights, on_linear, on_log_k = step.tensor_split([len(state.weights), len(state.weights) + len(state.linear)])
    log_k = state.log_k - on_log_k.clamp(-_LONGEST, _LONGEST) if len(on_log_k) else state.log_k
    return replace(state, weights=state.weights - on_weights, linear=state.linear - on_linear, log_k=log_k)


def _sparse(parts: list[tuple[Tensor, Tensor, Tensor]], shape: tuple[int, int]) -> Tensor:
    """A sparse matrix from (rows, columns, values)."""
    rows, columns, values = (torch.cat(piece) for piece in zip(*parts))
    return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape, check_invariants=False)

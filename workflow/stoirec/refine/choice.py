"""Which columns to change: score tests of all alternatives together."""

from dataclasses import replace

import torch
from torch import Tensor

from stoirec.refine.descent import SCORE_DAMPING, damped, free_equations
from stoirec.refine.equations import Equations
from stoirec.refine.hypotheses import hypotheses
from stoirec.refine.state import State

_EXCLUSIVE = 1e3  # of the largest curvature: what two columns of one reaction cost


def choose_columns(equations: Equations, state: State) -> State:
    """Score tests: take the columns under which a Gauss-Newton step on everything leaves the smallest residual.

    With all else fixed the test finds nothing: the functions have absorbed a wrong length. And one wrong column makes
    others look wrong: all columns are chosen together. Changing those marked by x (0 or 1 each) adds x'D to the
    residuals, so the residual left after the step is quadratic in x.
    """
    others = hypotheses(equations, state)
    matrix, right = free_equations(equations, state)
    factor, failed = torch.linalg.cholesky_ex(damped(matrix, SCORE_DAMPING) * equations.n_residuals)
    if failed or not others:
        return state

    n = len(others)
    slope, gradient, curvature = right.new_zeros(n), right.new_zeros(n, len(right)), right.new_zeros(n, n)
    for frames, rate, jacobian in equations.linearised(state):
        before = equations.predicted(rate, state.linear, frames)
        change = before.new_empty(n, *before.shape)  # D: of the residuals
        for place, other in enumerate(others):
            with_rate, linear = rate.clone(), state.linear.clone()
            with_rate[other.reaction] = equations.functions.rates_of(other.reaction, state, other.column[None], frames)[0]
            linear[equations.graph.edges_of(other.reaction)] = other.linear
            change[place] = equations.predicted(with_rate, linear, frames) - before
        slope += change.flatten(1) @ jacobian.residual.flatten()
        gradient += jacobian.project(change)  # D J
        curvature += change.flatten(1) @ change.flatten(1).T
    after = torch.cholesky_solve(gradient.T, factor)
    slope, curvature = slope - after.T @ (right * equations.n_residuals), curvature - gradient @ after

    reaction = torch.tensor([other.reaction for other in others], device=slope.device)
    exclusive = (reaction[:, None] == reaction) & ~torch.eye(n, dtype=torch.bool, device=slope.device)
    chosen = _smallest_quadratic(slope, torch.where(exclusive, _EXCLUSIVE * curvature.abs().max(), curvature))
    if not chosen:
        return state
    pattern, linear, log_k = state.pattern.clone(), state.linear.clone(), state.log_k.clone()
    for other in (others[place] for place in chosen):
        edges = equations.graph.edges_of(other.reaction)
        pattern[edges], linear[edges] = other.column, other.linear
        log_k[other.reaction] = torch.log10((other.linear @ other.column / other.column.square().sum()).clamp(min=1e-12))
    return replace(state, pattern=pattern, linear=linear, log_k=log_k, settled=-1)


def _smallest_quadratic(slope: Tensor, curvature: Tensor) -> list[int]:
    """The marked positions of the x in {0, 1}^n with the smallest 2 slope'x + x'curvature x found by changing one or two at a time."""
    x = torch.zeros_like(slope)
    while True:
        side = 1 - 2 * x  # what changing each position adds to x
        single = 2 * side * (slope + curvature @ x) + curvature.diagonal()
        pair = single[:, None] + single + 2 * side[:, None] * side * curvature
        pair.diagonal().copy_(single)
        best = int(pair.argmin())
        if pair.flatten()[best] >= 0:
            return torch.nonzero(x)[:, 0].tolist()
        for position in {best // len(x), best % len(x)}:
            x[position] = 1 - x[position]

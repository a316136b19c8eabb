"""Lengths of columns: (-1, 1) and (-2, 2) differ only in what they make of the functions, so the functions are refitted."""

from dataclasses import replace

import torch
from torch import Tensor

from stoirec.refine.columns import other_length
from stoirec.refine.descent import SCORE_DAMPING, damped, free_equations
from stoirec.refine.equations import Equations
from stoirec.refine.state import State


def choose_lengths(equations: Equations, state: State) -> State:
    """Score tests: take the lengths of columns under which a Gauss-Newton step on everything leaves the smallest residual.

    With all else fixed the test finds nothing: the functions have absorbed a wrong length. And one wrong length makes
    others look wrong: all lengths are chosen together. Changing those marked by x (0 or 1 each) adds x'D to the
    residuals, so the residual left after the step is quadratic in x.
    """
    graph, functions, frames = equations.graph, equations.functions, equations.frames
    swaps = []  # (reaction, column, B of the reaction, as fast as before)
    for reaction in range(graph.n_reactions):
        own = state.pattern[graph.edges_of(reaction)]
        other = other_length(own)
        if other is not None:
            old, new = functions.rates_of(reaction, state, torch.stack([own, other]), frames) @ frames.weight
            swaps.append((reaction, other, state.linear[graph.edges_of(reaction)] * (old @ new) / (new @ new)))
    matrix, right = free_equations(equations, state)
    factor, failed = torch.linalg.cholesky_ex(damped(matrix, SCORE_DAMPING) * equations.n_residuals)
    if failed or not swaps:
        return state

    n = len(swaps)
    slope, gradient, curvature = right.new_zeros(n), right.new_zeros(n, len(right)), right.new_zeros(n, n)
    for part, rate, jacobian in equations.linearised(state):
        before = equations.predicted(rate, state.linear, part)
        change = before.new_empty(n, *before.shape)  # D: of the residuals
        for place, (reaction, column, own) in enumerate(swaps):
            with_rate, linear = rate.clone(), state.linear.clone()
            with_rate[reaction] = functions.rates_of(reaction, state, column[None], part)[0]
            linear[graph.edges_of(reaction)] = own
            change[place] = equations.predicted(with_rate, linear, part) - before
        slope += change.flatten(1) @ jacobian.residual.flatten()
        gradient += jacobian.project(change)  # D J
        curvature += change.flatten(1) @ change.flatten(1).T
    after = torch.cholesky_solve(gradient.T, factor)
    slope, curvature = slope - after.T @ (right * equations.n_residuals), curvature - gradient @ after

    chosen = _smallest_quadratic(slope, curvature)
    if not chosen:
        return state
    pattern, linear, log_k = state.pattern.clone(), state.linear.clone(), state.log_k.clone()
    for reaction, column, own in (swaps[place] for place in chosen):
        edges = graph.edges_of(reaction)
        log_k[reaction] += torch.log10(own.norm() / linear[edges].norm() * pattern[edges].norm() / column.norm())
        pattern[edges], linear[edges] = column, own
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

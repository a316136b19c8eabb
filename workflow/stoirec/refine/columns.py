"""Integer columns of S from the real B: directions by angle, lengths by what else is known of |S|."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from stoirec.graph import Graph
from stoirec.network import balanced_coefficients
from stoirec.refine.descent import damped, free_equations
from stoirec.refine.equations import Equations
from stoirec.refine.state import State

LARGEST = 2  # coefficients are 1 or 2 in size
_DAMPING = 1e-6  # of the Gauss-Newton step in a score test


def candidate_columns(graph: Graph, sign: np.ndarray, device: torch.device) -> list[Tensor]:
    """For every reaction, (candidates, n) zero-sum columns of the given signs (E,), entries 1 to LARGEST in size."""
    columns = []
    for reaction in range(graph.n_reactions):
        own = sign[graph.edges_of(reaction)]
        minus, plus = np.flatnonzero(own < 0), np.flatnonzero(own > 0)
        found = np.array(balanced_coefficients(len(minus), len(plus), LARGEST), float).reshape(-1, len(own))
        ordered = np.empty_like(found)
        ordered[:, np.concatenate([minus, plus])] = found
        columns.append(torch.as_tensor(ordered, device=device))
    return columns


def same_direction(columns: Tensor, column: Tensor) -> Tensor:
    """Positions of the columns (candidates, n) that are multiples of `column`."""
    cosine = columns @ column / (columns.norm(dim=1) * column.norm())
    return torch.nonzero(cosine > 1 - 1e-9)[:, 0]


def decode(graph: Graph, candidates: list[Tensor], state: State) -> State:
    """Give every reaction the column whose direction is nearest that of its B.

    Of columns of one direction, the length it has is kept. If it has none yet, the learned |S| of the substrates are
    compared with those of reactions whose direction leaves one length only: the functions may represent an |S| of 2
    by another number, but by the same in all reactions with as many substrates.
    """
    pattern, log_k = torch.zeros_like(state.linear), state.log_k.clone()
    learned = state.linear.abs() / 10 ** state.log_k[torch.as_tensor(graph.edge_reaction, device=state.linear.device)]
    open_lengths: list[tuple[int, Tensor]] = []
    for reaction, columns in enumerate(candidates):
        if not len(columns):  # no zero-sum column has these signs
            continue
        edges = graph.edges_of(reaction)
        linear = state.linear[edges]
        k = (columns @ linear / columns.square().sum(1)).clamp(min=1e-12)
        best = int((linear - k[:, None] * columns).square().sum(1).argmin())
        same = same_direction(columns, columns[best])
        kept = [int(i) for i in same if state.pattern is not None and torch.equal(columns[i], state.pattern[edges])]
        best = kept[0] if kept else best
        pattern[edges], log_k[reaction] = columns[best], torch.log10(k[best])
        if len(same) > 1 and not kept:
            open_lengths.append((reaction, same))
    levels = _levels(graph, learned, pattern, {reaction for reaction, _ in open_lengths})
    n_substrates = np.bincount(graph.edge_reaction, graph.edge_is_substrate, graph.n_reactions).astype(int)
    for reaction, same in open_lengths:
        edges = graph.edges_of(reaction)
        is_substrate = torch.as_tensor(graph.edge_is_substrate[edges], device=learned.device)
        columns = candidates[reaction][same]
        expected = levels[n_substrates[reaction]][columns[:, is_substrate].abs().long()]
        best = columns[(expected.log() - learned[edges][is_substrate].log()).square().sum(1).argmin()]
        pattern[edges], log_k[reaction] = best, torch.log10((best @ state.linear[edges] / best.square().sum()).clamp(min=1e-12))
    unchanged = state.pattern is not None and torch.equal(pattern, state.pattern)
    return replace(state, pattern=pattern, log_k=log_k, settled=state.settled + 1 if unchanged else 0)


def _levels(graph: Graph, learned: Tensor, pattern: Tensor, excluded: set[int]) -> dict[int, Tensor]:
    """By number of substrates: (LARGEST + 1,) median learned |S| where the column says 1 or 2; the number itself where none does."""
    n_substrates = np.bincount(graph.edge_reaction, graph.edge_is_substrate, graph.n_reactions).astype(int)
    known = graph.edge_is_substrate & ~np.isin(graph.edge_reaction, list(excluded))
    levels = {}
    for number in np.unique(n_substrates):
        levels[number] = torch.arange(LARGEST + 1, dtype=learned.dtype, device=learned.device)
        for size in range(1, LARGEST + 1):
            edges = np.flatnonzero(known & (n_substrates[graph.edge_reaction] == number) & (pattern.abs().cpu().numpy() == size))
            if len(edges):
                levels[number][size] = learned[torch.as_tensor(edges, device=learned.device)].median()
    return levels


def choose_lengths(equations: Equations, candidates: list[Tensor], state: State) -> State:
    """Score tests: take the lengths of columns under which a Gauss-Newton step on everything leaves the smallest residual.

    With all else fixed the test finds nothing: the functions have absorbed a wrong length. And one wrong length makes
    others look wrong: all lengths are chosen together. Changing those marked by x (0 or 1 each) adds x'D to the
    residuals, so the residual left after the step is quadratic in x.
    """
    swaps = [
        (reaction, column)
        for reaction, columns in enumerate(candidates)
        for column in (columns[same_direction(columns, state.pattern[equations.graph.edges_of(reaction)])] if len(columns) else ())
        if not torch.equal(column, state.pattern[equations.graph.edges_of(reaction)])
    ]
    chunks = list(equations.jacobians(state))
    rate, residual, jacobian = (torch.cat([chunk[part] for chunk in chunks], dim=1) for part in range(3))
    matrix, right = free_equations(equations, state)
    factor, failed = torch.linalg.cholesky_ex(damped(matrix, _DAMPING) * equations.n_residuals)
    if failed or not swaps:
        return state

    scale, n_weights = equations.frames.scale, len(state.weights)
    change = residual.new_zeros(len(swaps), *residual.shape)  # D: of the residuals, the rate constant refitted
    change_of_k = residual.new_ones(len(swaps))
    for swap, (reaction, column) in enumerate(swaps):
        edges = equations.graph.edges_of(reaction)
        other = equations.functions.rates_of(reaction, state, column, equations.frames)
        change_of_k[swap] = (rate[reaction] @ other) / (other @ other)
        metabolites = equations.metabolite[edges]
        change[swap, metabolites] = (state.linear[edges] / scale[metabolites])[:, None] * (change_of_k[swap] * other - rate[reaction])

    gradient = residual.new_zeros(len(swaps), len(right))  # D J
    gradient[:, :n_weights] = change.flatten(1) @ jacobian.flatten(0, 1)
    for metabolite, edges in enumerate(equations.edges_of_metabolite):
        gradient[:, n_weights + edges] = change[:, metabolite] @ rate[equations.reaction[edges]].T / scale[metabolite]
    after = torch.cholesky_solve(gradient.T, factor)
    slope = change.flatten(1) @ residual.flatten() - after.T @ (right * equations.n_residuals)
    curvature = change.flatten(1) @ change.flatten(1).T - gradient @ after

    chosen = _smallest_quadratic(slope, curvature)
    if not chosen:
        return state
    pattern, linear, log_k = state.pattern.clone(), state.linear.clone(), state.log_k.clone()
    for swap in chosen:
        reaction, column = swaps[swap]
        edges = equations.graph.edges_of(reaction)
        log_k[reaction] += torch.log10(change_of_k[swap] / (column / pattern[edges])[0])
        pattern[edges], linear[edges] = column, change_of_k[swap] * linear[edges]
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

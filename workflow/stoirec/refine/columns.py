"""Integer columns of S from the real B: directions by angle, lengths by what else is known of |S|."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from stoirec.network.graph import Graph
from stoirec.refine.equations import Equations
from stoirec.refine.state import State
from stoirec.simulate.network import balanced_coefficients

LARGEST = 2  # coefficients are 1 or 2 in size
_LISTED = 12  # entries of a column whose candidates are listed, at most: they are up to 2^12
_LEAST = 1e-3  # learned |S| below this count as this


@cache
def _balanced(sign: tuple[int, ...]) -> Tensor:
    """(candidates, n) zero-sum columns of the given signs, entries 1 to LARGEST in size."""
    minus, plus = [i for i, s in enumerate(sign) if s < 0], [i for i, s in enumerate(sign) if s > 0]
    found = torch.tensor(balanced_coefficients(len(minus), len(plus), LARGEST), dtype=torch.float64).reshape(
        -1, len(sign)
    )
    columns = torch.empty_like(found)
    columns[:, minus + plus] = found
    return columns


def candidates(linear: Tensor, sign: Tensor, with_zeros: bool) -> Tensor:
    """(candidates, n) zero-sum columns for a column of B (n,): of its signs throughout, or of those of its n', n' - 1, ... largest entries."""
    smallest_first = linear.abs().argsort()
    sets = [linear.new_zeros(0, len(linear))]
    for n_zeros in range(len(linear) - 1) if with_zeros else (0,):
        kept = smallest_first[n_zeros:].sort().values
        if len(kept) > _LISTED:
            continue
        balanced = _balanced(tuple(int(s) for s in sign[kept])).to(linear.device)
        columns = linear.new_zeros(len(balanced), len(linear))
        columns[:, kept] = balanced
        sets.append(columns)
    return torch.cat(sets)


def other_length(column: Tensor) -> Tensor | None:
    """The other integer column of the same direction, entries up to LARGEST in size."""
    largest = int(column.abs().max())
    if largest == 1:
        return 2 * column
    return column / 2 if largest == 2 and bool((column.abs() != 1).all()) else None


def decode(equations: Equations, state: State) -> Tensor:
    """(E,) the integer column of every reaction whose direction is nearest that of its B.

    Of two columns of one direction the length is that which the learned |S| of the substrates speaks for, compared with
    those of reactions whose direction leaves one length only: the functions may represent an |S| of 2 by another number,
    but by the same in all reactions with as many substrates. A reaction without a zero-sum column, such as an exchange,
    takes the nearest integers of its signs.
    """
    graph, gated = equations.graph, equations.functions.gated
    learned = (state.linear.abs() / 10 ** state.log_k[equations.reaction]).clamp(min=_LEAST)
    found = torch.zeros_like(state.linear)
    open_lengths: list[int] = []
    for reaction in range(graph.n_reactions):
        edges = graph.edges_of(reaction)
        linear = state.linear[edges]
        columns = candidates(linear, equations.functions.sign[edges], gated)
        if not len(columns):
            found[edges] = equations.functions.sign[edges] * learned[edges].round().clamp(0 if gated else 1, LARGEST)
            continue
        k = (columns @ linear / columns.square().sum(1)).clamp(min=1e-12)
        found[edges] = columns[(linear - k[:, None] * columns).square().sum(1).argmin()]
        if other_length(found[edges]) is not None:
            open_lengths.append(reaction)
    n_substrates = np.bincount(
        graph.edge_reaction, graph.edge_is_substrate * (found != 0).cpu().numpy(), graph.n_reactions
    ).astype(int)
    levels = _levels(graph, learned, found, open_lengths, n_substrates)
    for reaction in open_lengths:
        edges = graph.edges_of(reaction)
        used = torch.as_tensor(graph.edge_is_substrate[edges], device=learned.device) & (found[edges] != 0)
        columns = torch.stack([found[edges], other_length(found[edges])])
        expected = levels[n_substrates[reaction]][columns[:, used].abs().long()]
        found[edges] = columns[(expected.log() - learned[edges][used].log()).square().sum(1).argmin()]
    return found


def as_fast(equations: Equations, before: State, after: State) -> State:
    """`after` with B such that every reaction is as fast as `before`, whatever the functions make of its new column."""
    weight = equations.frames.weight
    old, new = (equations.functions.rates(state, equations.frames) @ weight for state in (before, after))
    factor = (old * new).sum(1) / new.square().sum(1).clamp(min=torch.finfo(new.dtype).tiny)
    return replace(after, linear=after.linear * factor[equations.reaction], log_k=after.log_k + torch.log10(factor))


def _levels(
    graph: Graph, learned: Tensor, columns: Tensor, excluded: list[int], n_substrates: np.ndarray
) -> dict[int, Tensor]:
    """By number of substrates: (LARGEST + 1,) median learned |S| where the column says 1 or 2; the number itself where none does."""
    known = graph.edge_is_substrate & ~np.isin(graph.edge_reaction, excluded)
    levels = {}
    for number in np.unique(n_substrates):
        levels[number] = torch.arange(LARGEST + 1, dtype=learned.dtype, device=learned.device)
        for size in range(1, LARGEST + 1):
            edges = np.flatnonzero(
                known & (n_substrates[graph.edge_reaction] == number) & (columns.abs().cpu().numpy() == size)
            )
            if len(edges):
                levels[number][size] = learned[torch.as_tensor(edges, device=learned.device)].median()
    return levels

"""Integer columns of S from the real B: directions by angle, lengths by what else is known of |S|."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from stoirec.network.columns import ColumnSpace, TooManyColumns
from stoirec.refine.equations import Equations
from stoirec.refine.state import State

_LEAST = 1e-3  # learned |S| below this count as this


def candidates(space: ColumnSpace, reaction: int, linear: np.ndarray) -> np.ndarray:
    """(candidates, n) columns for a column of B (n,), as far as they can be listed.

    They are nonzero throughout; where zeros are allowed, those of its n, n - 1, ... largest entries.
    """
    smallest_first = np.argsort(np.abs(linear), kind="stable")
    found = [np.zeros((0, len(linear)))]
    for n_zeros in range(len(linear) - 1) if space.allows_zero else (0,):
        real = np.ones(len(linear), bool)
        real[smallest_first[:n_zeros]] = False
        try:
            found.append(space.columns(reaction, real))
        except TooManyColumns:
            continue
    return np.concatenate(found)


def decode(equations: Equations, state: State) -> Tensor:
    """(E,) the integer column of every reaction whose direction is nearest that of its B.

    Of two columns of one direction the length is that which the learned |S| of the substrates speaks for, compared
    with those of reactions whose direction leaves one length only: the functions may represent an |S| of 2 by another
    number, but by the same in all reactions with as many substrates. A reaction without a column to choose, such as
    an exchange, takes the nearest integers of its signs.
    """
    space, graph = equations.functions.space, equations.graph
    all_linear = state.linear.cpu().numpy()
    k = 10 ** state.log_k.cpu().numpy()[graph.edge_reaction]
    learned = np.maximum(np.abs(all_linear) / k, _LEAST)
    found = space.nearest(np.where(space.sign == 0, np.sign(all_linear), space.sign) * learned).astype(float)
    open_lengths: list[int] = []
    for reaction in range(graph.n_reactions):
        edges = graph.edges_of(reaction)
        linear = all_linear[edges]
        columns = candidates(space, reaction, linear)
        if not len(columns):
            continue
        length = np.maximum(columns @ linear / (columns**2).sum(1), 1e-12)
        found[edges] = columns[((linear - length[:, None] * columns) ** 2).sum(1).argmin()]
        if space.other_length(reaction, found[edges]) is not None:
            open_lengths.append(reaction)
    n_substrates = np.bincount(graph.edge_reaction, graph.edge_is_substrate * (found != 0), graph.n_reactions)
    n_substrates = n_substrates.astype(int)
    levels = _levels(space, learned, found, open_lengths, n_substrates)
    for reaction in open_lengths:
        edges = graph.edges_of(reaction)
        drives = graph.edge_is_substrate[edges] & (found[edges] != 0)
        columns = np.stack([found[edges], space.other_length(reaction, found[edges])])
        expected = levels[n_substrates[reaction]][np.abs(columns[:, drives]).astype(int)]
        distance = (np.log(expected) - np.log(learned[edges][drives])) ** 2
        found[edges] = columns[distance.sum(1).argmin()]
    return torch.as_tensor(found, device=state.linear.device)


def _levels(
    space: ColumnSpace, learned: np.ndarray, columns: np.ndarray, excluded: list[int], n_substrates: np.ndarray
) -> dict[int, np.ndarray]:
    """By number of substrates: (largest + 1,) median learned |S| where the column says 1, 2, ...

    Where no column of as many says so, that of all others; where none does, the number times what stands for 1.
    """
    graph = space.graph
    known = graph.edge_is_substrate & ~np.isin(graph.edge_reaction, excluded)
    everywhere = np.arange(space.largest + 1, dtype=float)
    for size in range(1, space.largest + 1):
        of = known & (np.abs(columns) == size)
        everywhere[size] = _lower_median(learned[of]) if of.any() else size * everywhere[1]
    levels = {}
    for number in np.unique(n_substrates):
        levels[number] = everywhere.copy()
        for size in range(1, space.largest + 1):
            of = known & (n_substrates[graph.edge_reaction] == number) & (np.abs(columns) == size)
            if of.any():
                levels[number][size] = _lower_median(learned[of])
    return levels


def _lower_median(values: np.ndarray) -> float:
    """The lower of the two middle values of an even number: one that was learned."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def as_fast(equations: Equations, before: State, after: State) -> State:
    """`after` with B such that every reaction is as fast as `before`, whatever the functions make of its new column."""
    windows, rates = equations.windows, equations.functions.rates
    old, new = (windows.over_nodes(rates(state, windows)) for state in (before, after))
    factor = (old * new).sum(1) / new.square().sum(1).clamp(min=torch.finfo(new.dtype).tiny)
    return replace(after, linear=after.linear * factor[equations.reaction], log_k=after.log_k + torch.log10(factor))

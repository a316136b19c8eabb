"""Decoders: real-valued coefficients of a graph's edges -> integer stoichiometric coefficients.

Every method takes each reaction's column on its own. Scaled methods divide it by a factor first: only |S| inside
substrate_func fixes the scale of a column, so a fit often has the direction right and the length wrong.
"""

from dataclasses import dataclass

import numpy as np

from stoirec.network.graph import Graph

LARGEST = 2  # coefficients are -LARGEST .. LARGEST
METHODS = ("nearest", "scaled", "mass_balanced", "scaled_mass_balanced")
REFINED = "refined"  # no decoder: the integers that refinement decided, where a fit was refined
_VALUES = np.arange(-LARGEST, LARGEST + 1)
_SCALES = np.geomspace(0.4, 2.5, 61)
_SCALE_PRIOR = 1e-3  # how many units of squared sine one unit of (log scale)^2 weighs


@dataclass(frozen=True)
class Decoded:
    """Integers and the scales they were found at.

    Attributes:
        coefficient: (E,) int8.
        scale: (R,) the learned column is about scale x integers; k_j of the integer column is scale x learned k_j.
    """

    coefficient: np.ndarray
    scale: np.ndarray


def decode(graph: Graph, coefficient: np.ndarray, weight: np.ndarray, method: str) -> Decoded:
    """Round `coefficient` (E,) by one of METHODS; `weight` (E,) > 0 is used by the mass-balanced ones.

    nearest: nearest integer within +-2.
    scaled: the scale and integers that leave the smallest angle between column and integers.
    mass_balanced: the zero-sum integer column at the smallest weighted squared distance.
    scaled_mass_balanced: the same at the best scale.
    """
    ones = np.ones(graph.n_reactions)
    if method == "nearest":
        return Decoded(nearest(coefficient), ones)
    if method == "scaled":
        return _by_column(graph, coefficient, scaled_column)
    if method == "mass_balanced":
        return Decoded(best_columns(graph, coefficient, weight, 1)[0][0], ones)
    if method == "scaled_mass_balanced":
        return _scaled_mass_balanced(graph, coefficient, weight)
    raise ValueError(f"method {method}; allowed: {', '.join(METHODS)}")


def nearest(coefficient: np.ndarray) -> np.ndarray:
    """Nearest integer within +-LARGEST, int8."""
    return np.clip(np.round(coefficient), -LARGEST, LARGEST).astype(np.int8)


def scaled_column(column: np.ndarray) -> tuple[np.ndarray, float]:
    """Integers p and scale with the smallest angle between `column` (n,) and p; ties go to the scale nearest 1.

    For a given scale the best p is the nearest integer of column/scale, which changes only where an entry crosses
    1/2 or 3/2: one candidate between each two such scales covers them all.
    """
    size = np.abs(column)
    crossings = np.unique(np.concatenate([size / (level - 0.5) for level in range(1, LARGEST + 1)]))
    crossings = crossings[crossings > 0]
    if len(crossings) == 0:
        return np.zeros(len(column), np.int8), 1.0
    between = np.concatenate([[crossings[0] / 2], np.sqrt(crossings[1:] * crossings[:-1])])
    candidates = nearest(column / between[:, None]).astype(float)
    candidates = candidates[(candidates != 0).any(axis=1)]
    if LARGEST == 2:  # a column of -1, 0, 1 has a double of the same direction
        candidates = np.concatenate([candidates, 2 * candidates[np.abs(candidates).max(axis=1) == 1]])
    squares = (candidates**2).sum(axis=1)
    scale = candidates @ column / squares
    cost = _column_cost((size**2).sum() - scale**2 * squares, (size**2).sum(), scale)
    best = np.argmin(cost)
    return candidates[best].astype(np.int8), float(scale[best])


def _column_cost(residual: np.ndarray, square: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Squared sine of the angle between column and integers, and a weak prior on scale 1."""
    return residual / square + _SCALE_PRIOR * np.log(scale) ** 2


def _by_column(graph: Graph, coefficient: np.ndarray, method) -> Decoded:
    integers, scale = np.zeros(graph.n_edges, np.int8), np.ones(graph.n_reactions)
    for reaction in range(graph.n_reactions):
        edges = graph.edges_of(reaction)
        integers[edges], scale[reaction] = method(coefficient[edges])
    return Decoded(integers, scale)


def _scaled_mass_balanced(graph: Graph, coefficient: np.ndarray, weight: np.ndarray) -> Decoded:
    ptr = graph.reaction_ptr[:-1]
    total = np.add.reduceat(weight * coefficient**2, ptr)
    best_cost = np.full(graph.n_reactions, np.inf)
    best, best_scale = np.zeros(graph.n_edges, np.int8), np.ones(graph.n_reactions)
    for trial in _SCALES:
        integers = best_columns(graph, coefficient / trial, weight, 1)[0][0]
        squares = np.add.reduceat(weight * integers.astype(float) ** 2, ptr)
        projection = np.add.reduceat(weight * integers * coefficient, ptr)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = projection / squares
            cost = _column_cost(total - scale * projection, total, scale)
        better = np.where((scale > 0) & (total > 0), cost, np.inf) < best_cost
        best_cost[better], best_scale[better] = cost[better], scale[better]
        best = np.where(better[graph.edge_reaction], integers, best)
    return Decoded(best, best_scale)


def best_columns(
    graph: Graph, coefficient: np.ndarray, weight: np.ndarray, n_best: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `n_best` zero-sum, nonzero integer columns of every reaction, best first.

    Dynamic programming over a column's edges; the state is the partial sum. Exact.

    Args:
        coefficient, weight: (E,); a column p costs sum_e weight_e (coefficient_e - p_e)^2.
        n_best: how many.

    Returns:
        (n_best, E) int8 columns and (n_best, R) costs, inf where a reaction has fewer columns (its entries are 0).
    """
    columns = np.zeros((n_best, graph.n_edges), np.int8)
    costs = np.full((n_best, graph.n_reactions), np.inf)
    edge_cost = weight[:, None] * (coefficient[:, None] - _VALUES) ** 2
    sizes = np.diff(graph.reaction_ptr)
    for size in np.unique(sizes[sizes > 0]):
        reactions = np.flatnonzero(sizes == size)
        edges = graph.reaction_ptr[reactions][:, None] + np.arange(size)
        found, cost = _best_of_size(edge_cost[edges], n_best)
        columns[:, edges] = found.transpose(1, 0, 2)
        costs[:, reactions] = cost.T
    return columns, costs


def _best_of_size(edge_cost: np.ndarray, n_best: int) -> tuple[np.ndarray, np.ndarray]:
    """(reactions, edges, values) costs -> (reactions, n_best, edges) columns and (reactions, n_best) costs."""
    n_reactions, n_edges, n_values = edge_cost.shape
    keep = n_best + 1  # one more: the zero column is dropped at the end
    zero = LARGEST * n_edges
    cost = np.full((n_reactions, 2 * zero + 1, keep), np.inf)
    cost[:, zero, 0] = 0.0
    column = np.zeros((n_reactions, 2 * zero + 1, keep, n_edges), np.int8)
    for edge in range(n_edges):
        longer_cost = np.full((n_reactions, 2 * zero + 1, n_values, keep), np.inf)
        longer = np.zeros((n_reactions, 2 * zero + 1, n_values, keep, n_edges), np.int8)
        for index, value in enumerate(_VALUES):
            to = slice(max(0, value), 2 * zero + 1 + min(0, value))
            source = slice(max(0, -value), 2 * zero + 1 + min(0, -value))
            longer_cost[:, to, index] = cost[:, source] + edge_cost[:, edge, index, None, None]
            longer[:, to, index] = column[:, source]
            longer[:, to, index, :, edge] = value
        flat_cost = longer_cost.reshape(n_reactions, 2 * zero + 1, -1)
        order = np.argsort(flat_cost, axis=-1, kind="stable")[..., :keep]
        cost = np.take_along_axis(flat_cost, order, axis=-1)
        column = np.take_along_axis(longer.reshape(n_reactions, 2 * zero + 1, -1, n_edges), order[..., None], axis=2)
    cost, column = cost[:, zero], column[:, zero]
    cost = np.where((column != 0).any(axis=-1), cost, np.inf)
    order = np.argsort(cost, axis=-1, kind="stable")[:, :n_best]
    cost, column = np.take_along_axis(cost, order, axis=-1), np.take_along_axis(column, order[..., None], axis=1)
    return np.where(np.isfinite(cost)[..., None], column, 0).astype(np.int8), cost

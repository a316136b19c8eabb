"""Decoders: real-valued coefficients of a graph's edges -> integer stoichiometric coefficients.

Every method takes each reaction's column on its own, whatever the signs of the candidate roles. Scaled methods divide
it by a factor first: only |S| inside the rate law fixes the scale of a column, so a fit often has the direction right
and the length wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stoirec.network.columns import ColumnSpace, small_integers

AUTO = "auto"  # what refinement decided, where a fit was refined, else mass_balanced
ROLES = "roles"  # no decoder: -1 and +1 by role, balanced, where a fit describes nothing
REFINED = "refined"  # no decoder: the integers that refinement decided, where a fit was refined
_SCALES = np.geomspace(0.4, 2.5, 61)
_SCALE_PRIOR = 1e-3  # how many units of squared sine one unit of (log scale)^2 weighs
_OUTSIDE = 100.0  # standard errors from every balanced column: then conservation does not hold for the reaction
_EXACT = 3.0  # of an entry, within which the nearest integers are what was learned


@dataclass(frozen=True)
class Decoded:
    """Integers and the scales they were found at.

    Attributes:
        coefficient: (E,) int8; real where known coefficients are fractional.
        scale: (R,) the learned column is about scale x integers; k_j of the integer column is scale x learned k_j.
    """

    coefficient: np.ndarray
    scale: np.ndarray


# coefficients of a fit that describes nothing may be of any size
@np.errstate(over="ignore", invalid="ignore")
def decode(space: ColumnSpace, coefficient: np.ndarray, weight: np.ndarray, method: str) -> Decoded:
    """Round `coefficient` (E,) by one of METHODS; `weight` (E,) > 0, inverse variances, is used by the balanced ones.

    nearest: nearest integers within the bounds.
    scaled: the scale and integers that leave the smallest angle between column and integers.
    mass_balanced: the integer column that conserves what is conserved at the smallest weighted squared distance.
    scaled_mass_balanced: the same at the best scale.
    """
    if method not in _DECODERS:
        raise ValueError(f"method {method}; allowed: {', '.join(METHODS)}")
    return _DECODERS[method](space.of_any_sign(), coefficient, weight)


def by_roles(space: ColumnSpace) -> Decoded:
    """The columns nearest to -1 for what is consumed and +1 for what is produced that conserve what is conserved."""
    return decode(space, space.likely_sign, np.ones(space.graph.n_edges), "mass_balanced")


def _nearest(space: ColumnSpace, coefficient: np.ndarray, weight: np.ndarray) -> Decoded:
    return Decoded(space.nearest(coefficient), np.ones(space.graph.n_reactions))


def _scaled(space: ColumnSpace, coefficient: np.ndarray, weight: np.ndarray) -> Decoded:
    graph = space.graph
    integers, scale = np.zeros(graph.n_edges), np.ones(graph.n_reactions)
    for reaction in range(graph.n_reactions):
        edges = graph.edges_of(reaction)
        integers[edges], scale[reaction] = scaled_column(coefficient[edges], space.bound[edges])
    # known coefficients are not learned: they are no question of scale
    integers = np.where(np.isnan(space.known), integers, space.known)
    return Decoded(small_integers(integers), scale)


def scaled_column(column: np.ndarray, bound: np.ndarray) -> tuple[np.ndarray, float]:
    """Integers p and scale with the smallest angle between `column` (n,) and p; ties go to the scale nearest 1.

    For a given scale the best p is the nearest integer of column/scale, which changes only where an entry crosses
    1/2, 3/2, ...: one candidate between each two such scales covers them all. `bound`: (n,) of |p|.
    """
    size = np.abs(column)
    levels = np.arange(1, bound.max(initial=1) + 1) - 0.5
    crossings = np.unique(size / levels[:, None])
    crossings = crossings[crossings > 0]
    if len(crossings) == 0:
        return np.zeros(len(column)), 1.0
    between = np.concatenate([[crossings[0] / 2], np.sqrt(crossings[1:] * crossings[:-1])])
    candidates = np.clip(np.round(column / between[:, None]), -bound, bound)
    candidates = candidates[(candidates != 0).any(axis=1)]
    # multiples have the same direction: -1, 0, 1 and -2, 0, 2
    multiples = [factor * candidates for factor in range(2, int(bound.max()) + 1)]
    candidates = np.concatenate([candidates, *(some[(np.abs(some) <= bound).all(axis=1)] for some in multiples)])
    squares = (candidates**2).sum(axis=1)
    scale = candidates @ column / squares
    cost = _column_cost((size**2).sum() - scale**2 * squares, (size**2).sum(), scale)
    best = np.argmin(cost)
    return candidates[best], float(scale[best])


def _column_cost(residual: np.ndarray, square: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Squared sine of the angle between column and integers, and a weak prior on scale 1."""
    return residual / square + _SCALE_PRIOR * np.log(scale) ** 2


def _mass_balanced(space: ColumnSpace, coefficient: np.ndarray, weight: np.ndarray) -> Decoded:
    columns, _ = space.best(coefficient, weight, 1)
    found = _as_learned(space, coefficient, weight, columns[0])
    return Decoded(found, np.ones(space.graph.n_reactions))


def _scaled_mass_balanced(space: ColumnSpace, coefficient: np.ndarray, weight: np.ndarray) -> Decoded:
    graph = space.graph
    total = graph.sum_by_reaction(weight * coefficient**2)
    best_cost = np.full(graph.n_reactions, np.inf)
    best, best_scale = np.zeros(graph.n_edges), np.ones(graph.n_reactions)
    for trial in _SCALES:
        integers = space.best(coefficient / trial, weight, 1)[0][0].astype(float)
        squares = graph.sum_by_reaction(weight * integers**2)
        projection = graph.sum_by_reaction(weight * integers * coefficient)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = projection / squares
            cost = _column_cost(total - scale * projection, total, scale)
        better = np.where((scale > 0) & (total > 0), cost, np.inf) < best_cost
        best_cost[better], best_scale[better] = cost[better], scale[better]
        best = np.where(better[graph.edge_reaction], integers, best)
    found = _as_learned(space, coefficient, weight, best, best_scale)
    best_scale[graph.sum_by_reaction(np.abs(found - best)) > 0] = 1.0
    return Decoded(small_integers(found), best_scale)


def _as_learned(
    space: ColumnSpace,
    coefficient: np.ndarray,
    weight: np.ndarray,
    columns: np.ndarray,
    scale: np.ndarray | None = None,
) -> np.ndarray:
    """(E,) `columns`, but the nearest integers where nothing balanced can be what was learned.

    That is where a reaction has no balanced column, such as an exchange, or was learned as integers within their
    errors that are far from balanced: an entry is not dropped to keep a sum.
    """
    graph, nearest = space.graph, space.nearest(coefficient)
    length = 1.0 if scale is None else scale[graph.edge_reaction]
    far = graph.sum_by_reaction(weight * (coefficient - length * columns) ** 2) > _OUTSIDE**2
    exact = graph.sum_by_reaction(weight * (coefficient - nearest) ** 2 > _EXACT**2) == 0
    none = graph.sum_by_reaction(columns != 0) == 0
    return np.where((none | (far & exact))[graph.edge_reaction], nearest, columns)


_DECODERS: dict[str, Callable[[ColumnSpace, np.ndarray, np.ndarray], Decoded]] = {
    "nearest": _nearest,
    "scaled": _scaled,
    "mass_balanced": _mass_balanced,
    "scaled_mass_balanced": _scaled_mass_balanced,
}
METHODS = tuple(_DECODERS)

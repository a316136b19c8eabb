"""How sure an answer is: the likeliest columns of every reaction, from what was learned of it."""

import numpy as np

from stoirec.answer.decode import decode
from stoirec.network.columns import ColumnSpace

_DEVIATIONS = np.linspace(-3, 3, 13)  # lengths at which columns are looked for, in standard deviations
_SHORTEST = 0.2  # of them
_FREEDOM = 2.0  # of the t distribution: fits of development networks are about as sure as they are right then
_LEAST_ERROR = 1e-6  # of a coefficient


def edge_weights(space: ColumnSpace, coefficient: np.ndarray, se: np.ndarray) -> np.ndarray:
    """(E,) decoding weights: inverse variance, with the typical distance to an integer as a floor of the error."""
    nearest = space.of_any_sign().nearest(coefficient)
    floor = max(float(np.median(np.abs(coefficient - nearest))), _LEAST_ERROR)
    return 1 / (se**2 + floor**2)


def likely_columns(
    space: ColumnSpace, coefficient: np.ndarray, weight: np.ndarray, n_best: int
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest integer columns of every reaction, of those that conserve what is conserved.

    A learned column is length x integers + errors. Only |S| inside the rate law fixes the length; its variance,
    around 1, is that of columns with both 1 and 2 in them, whose direction tells the length. The weights are inverse
    variances of the errors up to a factor, set so that the best columns at length 1 leave one unit per degree of
    freedom (edges less one), and up to another for each reaction, for weak ones are worse: together a multivariate t
    distribution around the integers.

    Args:
        space: candidate edges and their columns.
        coefficient, weight: (E,) as of `ColumnSpace.best`.
        n_best: how many.

    Returns:
        (n_best, E) columns, likeliest first, and (n_best, R) their probabilities; 0 where a reaction has fewer.
    """
    space, graph = space.of_any_sign(), space.graph
    n_edges = np.diff(graph.reaction_ptr)
    variance = _length_variance(space, coefficient, weight)
    left = _finite(space.best(coefficient, weight, 1)[1]).sum()
    weight = weight / max(1.0, float(left / np.maximum(n_edges - 1, 1).sum()))
    lengths = np.maximum(1 + np.sqrt(variance) * _DEVIATIONS, _SHORTEST)
    columns = np.concatenate([space.best(coefficient / length, weight * length**2, n_best)[0] for length in lengths])
    error = coefficient - columns
    square, along, size = (
        graph.sum_by_reaction(part) for part in (weight * error**2, weight * error * columns, weight * columns**2.0)
    )
    distance = square - variance * along**2 / (1 + variance * size)  # of Mahalanobis, squared
    cost = (_FREEDOM + n_edges) * np.log1p(distance / _FREEDOM) + np.log1p(variance * size)
    cost[size == 0] = np.inf  # fewer columns than asked for

    best, probability = np.zeros((n_best, graph.n_edges), columns.dtype), np.zeros((n_best, graph.n_reactions))
    for reaction in range(graph.n_reactions):
        edges = graph.edges_of(reaction)
        own, first = np.unique(columns[:, edges], axis=0, return_index=True)
        own_cost = cost[first, reaction]
        if np.isinf(own_cost).all():  # an exchange
            continue
        likelihood = np.exp(-0.5 * (own_cost - own_cost.min()))
        likeliest = np.argsort(-likelihood, kind="stable")[:n_best]
        best[: len(likeliest), edges] = own[likeliest]
        probability[: len(likeliest), reaction] = likelihood[likeliest] / likelihood.sum()
    return best, probability


def _finite(costs: np.ndarray) -> np.ndarray:
    """Costs of the reactions that have a column."""
    return costs[np.isfinite(costs)]


def _length_variance(space: ColumnSpace, coefficient: np.ndarray, weight: np.ndarray) -> float:
    """Mean square of length - 1 over the columns whose direction leaves one length; 0 if there are none."""
    found = decode(space, coefficient, weight, "scaled_mass_balanced")
    graph = space.graph
    told = np.array(
        [
            space.other_length(reaction, found.coefficient[graph.edges_of(reaction)].astype(float)) is None
            for reaction in range(graph.n_reactions)
        ]
    )
    told &= graph.sum_by_reaction(found.coefficient != 0) > 0
    return float(np.mean((found.scale[told] - 1) ** 2)) if told.any() else 0.0

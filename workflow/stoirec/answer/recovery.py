"""From a fit to an answer: decode by every method, and say how sure each entry is."""

import json
import logging
from pathlib import Path

import numpy as np
import xarray as xr

from stoirec.answer.decode import METHODS, best_columns, decode, nearest
from stoirec.data.graph_variables import graph_of, graph_variables
from stoirec.files import netcdf
from stoirec.network.graph import Graph

_log = logging.getLogger(__name__)
_ALTERNATIVES = 5
_DEVIATIONS = np.linspace(-3, 3, 13)  # lengths at which columns are looked for, in standard deviations
_SHORTEST = 0.2  # of them
_FREEDOM = 2.0  # of the t distribution: fits of development networks are about as sure as they are right then
_WORTHLESS = 1.0  # val_loss of a fit that is worse on a new trajectory than the mean of dc/dt is


def read_fit(path: str | Path) -> xr.Dataset:
    """fit.nc. Raises BadInput."""
    return netcdf.read(
        path,
        ("coefficient", "coefficient_se", "log_k", "step", "coefficient_history", "val_loss"),
        attributes=("status", "config", "network_seed"),
    )


def edge_weights(coefficient: np.ndarray, se: np.ndarray) -> np.ndarray:
    """(E,) decoding weights: inverse variance, with the typical distance to an integer as a floor of the error."""
    floor = max(float(np.median(np.abs(coefficient - nearest(coefficient)))), 1e-6)
    return 1 / (se**2 + floor**2)


def recover(fit: xr.Dataset, path: str) -> xr.Dataset:
    """The content of recovery.nc for the content of fit.nc.

    A diverged fit gives zeros with confidence 0. The confidence is 0 as well where val_loss says that the functions hold on no
    other trajectory: evidence from such functions is certain of much that is wrong.
    """
    graph = graph_of(fit, path)
    config = json.loads(fit.attrs["config"])
    coefficient, log_k = fit["coefficient"].values, fit["log_k"].values
    diverged = fit.attrs["status"] != "ok"
    if diverged:
        coefficient, weight = np.zeros(graph.n_edges), np.ones(graph.n_edges)
    else:
        weight = edge_weights(coefficient, fit["coefficient_se"].values)

    variables = dict(graph_variables(graph))
    for method in METHODS:
        found = decode(graph, coefficient, weight, method)
        integers = np.zeros_like(found.coefficient) if diverged else found.coefficient
        variables[f"stoichiometry_{method}"] = _matrix_variable(
            graph, integers, f"recovered stoichiometric coefficient, {method}"
        )
        variables[f"log_k_{method}"] = (
            "reaction",
            log_k + np.log10(found.scale),
            {"long_name": f"log10 rate constant of the column decoded by {method}", "units": "log10(1 / time unit)"},
        )
        if method == config["decoder"]:
            answer, scale = integers, found.scale

    if "column_probability" in fit:
        columns, probability = fit["column"].values, fit["column_probability"].values
    else:
        columns, probability = likely_columns(graph, coefficient / scale[graph.edge_reaction], weight, _ALTERNATIVES)
    if diverged:
        probability = np.zeros_like(probability)
    with np.errstate(divide="ignore"):
        costs = -2 * np.log(probability)
    confidence = np.where(columns == answer, probability[:, graph.edge_reaction], 0.0).sum(axis=0)
    if not diverged and fit["val_loss"] >= _WORTHLESS:
        _log.warning(
            "%s: val_loss %.1e, worse than the mean of dc/dt: nothing is sure; more runs would help",
            path,
            fit["val_loss"],
        )
        confidence = np.zeros_like(confidence)
    variables |= {
        "stoichiometry": _matrix_variable(
            graph, answer, f"recovered stoichiometric coefficient: the answer, by {config['decoder']}"
        ),
        "coefficient": (
            "edge",
            fit["coefficient"].values,
            {"long_name": "learned stoichiometric coefficient", "units": "1"},
        ),
        "confidence": ("edge", confidence, {"long_name": "posterior probability of the answer's entry", "units": "1"}),
        "alternative": (
            ("rank", "edge"),
            columns,
            {"long_name": "likeliest zero-sum integer columns, likeliest first", "units": "1"},
        ),
        "alternative_cost": (
            ("rank", "reaction"),
            costs,
            {"long_name": "-2 log probability of the column", "units": "1"},
        ),
        "val_loss": ((), fit["val_loss"].values, fit["val_loss"].attrs),
    }
    keep = ("status", "config", "network_seed")
    return xr.Dataset(
        variables, attrs={"title": "recovered stoichiometric matrix", **{name: fit.attrs[name] for name in keep}}
    )


def _matrix_variable(graph: Graph, integers: np.ndarray, long_name: str) -> tuple:
    return ("metabolite", "reaction"), graph.matrix(integers), {"long_name": long_name, "units": "1"}


def likely_columns(
    graph: Graph, coefficient: np.ndarray, weight: np.ndarray, n_best: int
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest zero-sum integer columns of every reaction.

    A learned column is length x integers + errors. Only |S| inside substrate_func fixes the length; its variance, around 1,
    is that of columns with both 1 and 2 in them, whose direction tells the length. The weights are inverse variances of the
    errors up to a factor, set so that the best columns at length 1 leave one unit per degree of freedom (edges less one), and
    up to another for each reaction, for weak ones are worse: together a multivariate t distribution around the integers.

    Args:
        graph: candidate edges.
        coefficient, weight: (E,) as of `decode.best_columns`.
        n_best: how many.

    Returns:
        (n_best, E) int8 columns, likeliest first, and (n_best, R) their probabilities; 0 where a reaction has fewer.
    """
    ptr, n_edges = graph.reaction_ptr[:-1], np.diff(graph.reaction_ptr)
    variance = _length_variance(graph, coefficient, weight)
    left = best_columns(graph, coefficient, weight, 1)[1].sum()
    weight = weight / max(1.0, float(left / np.maximum(n_edges - 1, 1).sum()))
    lengths = np.maximum(1 + np.sqrt(variance) * _DEVIATIONS, _SHORTEST)
    columns = np.concatenate(
        [best_columns(graph, coefficient / length, weight * length**2, n_best)[0] for length in lengths]
    )
    error = coefficient - columns
    square, along, size = (
        np.add.reduceat(part, ptr, axis=1)
        for part in (weight * error**2, weight * error * columns, weight * columns**2.0)
    )
    distance = square - variance * along**2 / (1 + variance * size)  # of Mahalanobis, squared
    cost = (_FREEDOM + n_edges) * np.log1p(distance / _FREEDOM) + np.log1p(variance * size)
    cost[size == 0] = np.inf  # fewer columns than asked for

    best, probability = np.zeros((n_best, graph.n_edges), np.int8), np.zeros((n_best, graph.n_reactions))
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


def _length_variance(graph: Graph, coefficient: np.ndarray, weight: np.ndarray) -> float:
    """Mean square of length - 1 over the columns with both 1 and 2 in them; 0 if there are none."""
    found = decode(graph, coefficient, weight, "scaled_mass_balanced")
    has = [
        np.bincount(graph.edge_reaction, np.abs(found.coefficient) == number, graph.n_reactions) > 0
        for number in (1, 2)
    ]
    told = has[0] & has[1]
    return float(np.mean((found.scale[told] - 1) ** 2)) if told.any() else 0.0

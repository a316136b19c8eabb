"""From a fit to an answer: decode by every method, and say how sure each entry is."""

import json
from pathlib import Path

import numpy as np
import xarray as xr

from stoirec import netcdf
from stoirec.dataset import graph_of, graph_variables
from stoirec.decode import METHODS, best_columns, decode, nearest
from stoirec.graph import Graph

_ALTERNATIVES = 5


def read_fit(path: str | Path) -> xr.Dataset:
    """fit.nc. Raises BadInput."""
    return netcdf.read(path, ("coefficient", "coefficient_se", "log_k", "step", "coefficient_history", "val_loss"), attributes=("status", "config", "network_seed"))


def edge_weights(coefficient: np.ndarray, se: np.ndarray) -> np.ndarray:
    """(E,) decoding weights: inverse variance, with the typical distance to an integer as a floor of the error."""
    floor = max(float(np.median(np.abs(coefficient - nearest(coefficient)))), 1e-6)
    return 1 / (se**2 + floor**2)


def recover(fit: xr.Dataset, path: str) -> xr.Dataset:
    """The content of recovery.nc for the content of fit.nc. A diverged fit gives zeros with confidence 0."""
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
        variables[f"stoichiometry_{method}"] = _matrix_variable(graph, integers, f"recovered stoichiometric coefficient, {method}")
        variables[f"log_k_{method}"] = (
            "reaction",
            log_k + np.log10(found.scale),
            {"long_name": f"log10 rate constant of the column decoded by {method}", "units": "log10(1 / time unit)"},
        )
        if method == config["decoder"]:
            answer, scale = integers, found.scale

    if "column_probability" in fit:
        columns, probability = fit["column"].values, fit["column_probability"].values
        with np.errstate(divide="ignore"):
            costs = -2 * np.log(probability)
    else:
        columns, costs = best_columns(graph, coefficient / scale[graph.edge_reaction], weight, _ALTERNATIVES)
        probability = np.zeros_like(costs) if diverged else column_probability(graph, costs)
    confidence = np.where(columns == answer, probability[:, graph.edge_reaction], 0.0).sum(axis=0)
    variables |= {
        "stoichiometry": _matrix_variable(graph, answer, f"recovered stoichiometric coefficient: the answer, by {config['decoder']}"),
        "coefficient": ("edge", fit["coefficient"].values, {"long_name": "learned stoichiometric coefficient", "units": "1"}),
        "confidence": ("edge", confidence, {"long_name": "posterior probability of the answer's entry", "units": "1"}),
        "alternative": (("rank", "edge"), columns, {"long_name": "best zero-sum integer columns, best first", "units": "1"}),
        "alternative_cost": (("rank", "reaction"), costs, {"long_name": "-2 log likelihood of the column, up to a constant", "units": "1"}),
        "val_loss": ((), fit["val_loss"].values, fit["val_loss"].attrs),
    }
    keep = ("status", "config", "network_seed")
    return xr.Dataset(variables, attrs={"title": "recovered stoichiometric matrix", **{name: fit.attrs[name] for name in keep}})


def _matrix_variable(graph: Graph, integers: np.ndarray, long_name: str) -> tuple:
    return ("metabolite", "reaction"), graph.matrix(integers), {"long_name": long_name, "units": "1"}


def column_probability(graph: Graph, costs: np.ndarray) -> np.ndarray:
    """(ranks, R) probability of each listed column, were there no others and errors Gaussian.

    The weights are inverse variances up to a common factor; that factor is set so that the best columns of all
    reactions have the residual they should: one unit per degree of freedom (edges less one, for the zero sum).

    Args:
        costs: (ranks, R) of `decode.best_columns`.
    """
    freedom = np.maximum(np.diff(graph.reaction_ptr) - 1, 1)
    inflation = max(1.0, float(costs[0].sum() / freedom.sum()))
    with np.errstate(invalid="ignore"):
        likelihood = np.exp(-0.5 * (costs - costs[0]) / inflation)
    likelihood = np.where(np.isfinite(costs), likelihood, 0.0)
    return likelihood / np.maximum(likelihood.sum(axis=0), 1e-300)

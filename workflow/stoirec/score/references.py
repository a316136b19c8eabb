"""What every result stands beside: trivial baselines, which know the graph, and oracles, which know the truth."""

import math

import numpy as np

from stoirec.answer.decode import METHODS, REFINED, decode
from stoirec.network.graph import Graph
from stoirec.score.metrics import recovery_metrics
from stoirec.score.oracle import oracle_coefficients
from stoirec.simulate.truth import Truth


def baseline_coefficients(graph: Graph) -> dict[str, np.ndarray]:
    """(E,) coefficients that know only the graph's roles.

    baseline_unit: -1 for substrates, +1 for products.
    baseline_balanced: -1.5 for substrates, +1.5 n_sub/n_prod for products: roles and mass balance.
    """
    sign = np.where(graph.edge_is_substrate, -1.0, 1.0)
    n_sub = np.bincount(graph.edge_reaction, graph.edge_is_substrate, graph.n_reactions)
    n_prod = np.bincount(graph.edge_reaction, ~graph.edge_is_substrate, graph.n_reactions)
    ratio = n_sub / np.maximum(n_prod, 1)
    return {
        "baseline_unit": sign,
        "baseline_balanced": np.where(graph.edge_is_substrate, -1.5, 1.5 * ratio[graph.edge_reaction]),
    }


def reference_metrics(
    graph: Graph, truth: Truth, flux: np.ndarray, dcdt: np.ndarray
) -> dict[str, dict[str, dict[str, float]]]:
    """Baselines and oracles on a simulated data set, each decoded by every method: {reference: {method: metrics}}.

    `flux`, `dcdt`: of `oracle.true_frames`.
    """
    references = baseline_coefficients(graph) | oracle_coefficients(graph, flux, dcdt)
    unit = np.ones(graph.n_edges)
    result: dict[str, dict[str, dict[str, float]]] = {}
    for name, coefficient in references.items():
        result[name] = {}
        for method in METHODS:
            found = decode(graph, coefficient, unit, method)
            result[name][method] = recovery_metrics(
                graph, coefficient, found.coefficient, truth.log_k, truth.stoichiometry, truth.log_k
            ) | {"log_k_r2": math.nan}
    return result


def comparable_method(method: str) -> str:
    """The rounding method that references are decoded by beside an answer of `method`.

    Columns that refinement decided are balanced and have the signs of the roles, as mass_balanced ones mostly do.
    """
    return "mass_balanced" if method == REFINED else method
